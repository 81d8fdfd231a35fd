"""An MCP client by hand: both eras, stdio and HTTP, hiding nothing of what was said."""

from tests.live.speaking.speaker import ABLE, ANSWERS, Pending, Speaker
from tests.live.speaking.wires import HttpWire, StdioWire, over_http, over_stdio

__all__ = ["ABLE", "ANSWERS", "HttpWire", "Pending", "Speaker", "StdioWire", "over_http", "over_stdio"]
