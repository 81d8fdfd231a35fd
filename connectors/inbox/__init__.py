"""The `inbox` connector: signed messages of other systems, as resources that agents read and subscribe to."""

from connectors.inbox.config import Hook, InboxConfig
from connectors.inbox.upstream import InboxUpstream
from gateway.connector import Connector, Surroundings, Upstream

__all__ = ["Hook", "InboxConfig", "InboxConnector"]


class InboxConnector(Connector[InboxConfig]):
    """Webhooks in."""

    name = "inbox"

    @classmethod
    def upstream(cls, config: InboxConfig, surroundings: Surroundings) -> Upstream:
        """Return the inbox."""
        return InboxUpstream(config, surroundings)
