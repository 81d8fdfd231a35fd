"""Toolgate: an MCP gateway that gives agents governed hands."""

__version__ = "0.1.0"
