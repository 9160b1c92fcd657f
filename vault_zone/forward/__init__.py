"""Forwarding: a request whose placeholders are filled with a card inside the zone, to a destination that is allow-listed."""
