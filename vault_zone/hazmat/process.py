"""What the operating system is asked to keep from others: no core dump, no other process of the same user reading memory."""

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def harden_process() -> None:
    """Forbids core dumps, and on Linux attaching to and reading this process without the right to. Best effort elsewhere."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
