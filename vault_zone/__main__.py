"""``python -m vault_zone`` is ``vault-zone``."""

import sys

from vault_zone.cli import main

sys.exit(main())
