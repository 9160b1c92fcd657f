"""Each brand's agent as an MCP server: a handful of typed tools over the same desk that every other protocol uses."""
