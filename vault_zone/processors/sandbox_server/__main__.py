"""``python -m vault_zone.processors.sandbox_server``: see docs/sandbox.md."""

import sys

from vault_zone.processors.sandbox_server.serve import serve

sys.exit(serve(sys.argv[1:]))
