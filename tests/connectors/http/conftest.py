"""The scripted API and the upstreams of the tests of what all HTTP connectors share."""

from tests.connectors.rest.conftest import api, start

__all__ = ["api", "start"]
