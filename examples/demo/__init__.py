"""A purchase from feed to receipt: an assistant over MCP, a shopper in a browser, and a search for the card afterwards."""
