"""``python -m mcp_server`` is ``cordon-mcp``."""

import sys

from mcp_server.cli import main

sys.exit(main())
