"""MCP Apps: a brand's products, checkout and order as pages that a host shows in a sandbox (SEP-1865)."""
