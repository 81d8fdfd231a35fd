"""The `email` connector: mail out over SMTP, from declared addresses to declared recipients."""

from connectors.email.config import EmailConfig
from connectors.email.upstream import EmailUpstream
from gateway.connector import Connector, Surroundings, Upstream

__all__ = ["EmailConfig", "EmailConnector"]


class EmailConnector(Connector[EmailConfig]):
    """A mail server through which agents may write to whom the configuration names."""

    name = "email"

    @classmethod
    def upstream(cls, config: EmailConfig, surroundings: Surroundings) -> Upstream:
        """Return the mail server's live form, not yet open."""
        return EmailUpstream(config, surroundings)
