"""The plugin API: what a connector imports, and all that it may import."""

from gateway.connector.upstream import ToolCall, ToolTraits, Upstream
from gateway.model.errors import ConnectorFault
from gateway.model.tool import Effect

__all__ = ["ConnectorFault", "Effect", "ToolCall", "ToolTraits", "Upstream"]
