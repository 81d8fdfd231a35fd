"""The MCP server in front: Streamable HTTP in both eras. stdio comes in through the bridge, over the same door."""
