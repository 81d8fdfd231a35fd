"""MCP tasks: the forms they have in each era, without anything that asks, decides or keeps."""
