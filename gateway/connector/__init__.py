"""The plugin API: what a connector imports, and all that it may import."""

from gateway.codec import CodecError, dump, parse
from gateway.connector.auth import Auth, CommandOutput, MutualTls
from gateway.connector.certificates import Certificates
from gateway.connector.credential import ITSELF, Behalf, Credential, Refusal, Sought
from gateway.connector.declaration import tool
from gateway.connector.failures import ANSWER, Action, Failures
from gateway.connector.faults import (
    Confined,
    CredentialExpired,
    Forbidden,
    NotDone,
    Rejected,
    TimedOut,
    Unavailable,
    parse_retry_after,
    plain,
    put_off,
)
from gateway.connector.measure import Measure
from gateway.connector.plugin import Connector, ConnectorConfig, Surroundings
from gateway.connector.receiving import Delivery, Receiver
from gateway.connector.secret import Secret
from gateway.connector.tunnel import ProxyUrl, Tunnel
from gateway.connector.upstream import (
    LOOKUP,
    Begun,
    Definitions,
    Notice,
    Offer,
    ToolCall,
    ToolsOnly,
    ToolTraits,
    Upstream,
)
from gateway.model.back import NOBODY, AskRefused, Back, Hear
from gateway.model.clock import Clock, IdSource
from gateway.model.errors import ConnectorFault
from gateway.model.tool import Effect

__all__ = [
    "ANSWER",
    "ITSELF",
    "LOOKUP",
    "NOBODY",
    "Action",
    "AskRefused",
    "Auth",
    "Back",
    "Begun",
    "Behalf",
    "Certificates",
    "Clock",
    "CodecError",
    "CommandOutput",
    "Confined",
    "Connector",
    "ConnectorConfig",
    "ConnectorFault",
    "Credential",
    "CredentialExpired",
    "Definitions",
    "Delivery",
    "Effect",
    "Failures",
    "Forbidden",
    "Hear",
    "IdSource",
    "Measure",
    "MutualTls",
    "NotDone",
    "Notice",
    "Offer",
    "ProxyUrl",
    "Receiver",
    "Refusal",
    "Rejected",
    "Secret",
    "Sought",
    "Surroundings",
    "TimedOut",
    "ToolCall",
    "ToolTraits",
    "ToolsOnly",
    "Tunnel",
    "Unavailable",
    "Upstream",
    "dump",
    "parse",
    "parse_retry_after",
    "plain",
    "put_off",
    "tool",
]
