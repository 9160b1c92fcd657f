"""``python -m commerce_api`` is ``cordon``."""

import sys

from commerce_api.cli import main

sys.exit(main())
