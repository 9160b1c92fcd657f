"""Examples that run: the demonstration purchase, and a small store's catalogue."""
