"""The `webhook` connector: signed messages to declared places."""

from connectors.webhook.config import WebhookConfig, WebhookTarget
from connectors.webhook.upstream import WebhookUpstream
from gateway.connector import Connector, Surroundings, Upstream

__all__ = ["WebhookConfig", "WebhookConnector", "WebhookTarget"]


class WebhookConnector(Connector[WebhookConfig]):
    """Places that agents may send messages to."""

    name = "webhook"

    @classmethod
    def upstream(cls, config: WebhookConfig, surroundings: Surroundings) -> Upstream:
        """Return the places' live form, not yet open."""
        return WebhookUpstream(config, surroundings)
