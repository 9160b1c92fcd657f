"""The embedded authorization server: how shoppers let assistants act for them, for brands that have none of their own."""
