"""``vault-zone``: sets up, runs and looks after the zone. One file for each group of commands."""

from vault_zone.cli.main import main

__all__ = ["main"]
