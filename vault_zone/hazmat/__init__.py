"""The only place in the zone that imports ``cryptography``. Everything else calls these few functions."""
