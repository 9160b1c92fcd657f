"""What the operating system is asked to keep from others (PCI DSS 2.2.1, 3.3.2), and an honest account of what it granted.

What must hold once harden_process() has returned, each as far as its Measure says:

1. No core dump, neither to a file nor to a program that collects them: the limit is 0, and the process is not dumpable, which
   is what the kernel asks before it pipes a core anywhere. Were both undone, the filter leaves private memory out, which is
   what madvise(MADV_DONTDUMP) on every mapping would do, for mappings made later too.
2. No other process of the same user attaches to this one or reads its memory (ptrace(2), PR_SET_DUMPABLE).
3. No program started from here gains rights (PR_SET_NO_NEW_PRIVS).
4. No page reaches a disk: every page, those to come included, is locked when it is first used, or the system has no swap.
5. A file made from here is its owner's alone, unless it is opened up on purpose.
6. Standard input is empty: nothing typed at a terminal arrives, and nothing waits for it.
"""

import ctypes
import enum
import os
import resource
import sys
from pathlib import Path
from typing import NamedTuple

OWNER_ONLY = 0o077
_PR_SET_DUMPABLE, _PR_GET_DUMPABLE = 4, 3  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS, _PR_GET_NO_NEW_PRIVS = 38, 39
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # linux/mman.h
_CAP_IPC_LOCK = 14  # linux/capability.h
_PROC = Path("/proc/self")


class Outcome(enum.StrEnum):
    """Whether a measure is in force."""

    HELD = "held"
    REFUSED = "refused"


class Measure(NamedTuple):
    """One measure: its name, whether it is in force, and for an operator the reason or the way to it."""

    name: str
    outcome: Outcome
    detail: str

    @property
    def is_held(self) -> bool:
        """Whether it is in force."""
        return self.outcome is Outcome.HELD


def harden_process() -> tuple[Measure, ...]:
    """Asks for (1) to (6) and reads back what is in force. Never raises: what the system refuses is in the answer."""
    os.umask(OWNER_ONLY)  # (5)
    return (
        _no_core_dump(),  # (1) first of all: what follows may fail, and /proc/self changes its owner with it
        _not_readable(),
        _no_new_rights(),
        _no_swap(),
        Measure("files_private", Outcome.HELD, "new files are their owner's alone"),
        _empty_input(),
    )


def _no_core_dump() -> Measure:  # (1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        (_PROC / "coredump_filter").write_text("0", encoding="utf-8")
    except OSError:
        filtered = ""
    else:
        filtered = "; private memory is left out of any dump"
    _prctl(_PR_SET_DUMPABLE, 0)
    if _prctl(_PR_GET_DUMPABLE, 0) == 0:
        return Measure("no_core_dump", Outcome.HELD, f"core limit 0, not dumpable{filtered}")
    return Measure(
        "no_core_dump", Outcome.REFUSED, "core limit 0; a collector of cores may still get one on this system"
    )


def _not_readable() -> Measure:  # (2)
    if _prctl(_PR_GET_DUMPABLE, 0) == 0:
        return Measure("not_readable", Outcome.HELD, "processes of the same user cannot attach or read memory")
    return Measure("not_readable", Outcome.REFUSED, "this system cannot forbid it; give the zone a user of its own")


def _no_new_rights() -> Measure:  # (3)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if _prctl(_PR_GET_NO_NEW_PRIVS, 0) == 1:
        return Measure("no_new_rights", Outcome.HELD, "set-user-id programs give nothing more")
    return Measure("no_new_rights", Outcome.REFUSED, "this system has no such switch; the container's is needed")


def _no_swap() -> Measure:  # (4)
    limit = _memory_limit_bytes()
    if (may_lock := limit == resource.RLIM_INFINITY or _holds_capability(_CAP_IPC_LOCK)) and _lock_memory():
        return Measure("no_swap", Outcome.HELD, "every page is locked when it is first used")
    return judge_swap(may_lock=may_lock, limit_bytes=limit, has_swap=_has_swap())


def judge_swap(*, may_lock: bool, limit_bytes: int, has_swap: bool | None) -> Measure:
    """What is true when memory is not locked. ``has_swap`` is None where the system does not say.

    Under a finite limit nothing is locked at all: with MCL_FUTURE an allocation over the limit fails, at any later moment, and
    with it a charge that is under way (mlockall(2)).
    """
    why = "the system refused the lock" if may_lock else f"the limit for locked memory is {limit_bytes // 1024} KiB"
    if has_swap is False:
        return Measure("no_swap", Outcome.HELD, f"there is no swap here; memory is not locked: {why}")
    return Measure(
        "no_swap", Outcome.REFUSED, f"{why}: make it unlimited (LimitMEMLOCK, ulimits memlock), or switch swap off"
    )


def _memory_limit_bytes() -> int:
    if not hasattr(resource, "RLIMIT_MEMLOCK"):
        return 0
    _, most = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (most, most))
    return most


def _lock_memory() -> bool:
    try:
        return bool(ctypes.CDLL(None, use_errno=True).mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0)
    except (AttributeError, OSError):
        return False


def _holds_capability(number: int) -> bool:
    effective = next((line.split()[1] for line in _lines(_PROC / "status") if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)


def _has_swap() -> bool | None:
    devices = _lines(Path("/proc/swaps"))
    if not devices:
        return None
    group = next((line[3:] for line in _lines(_PROC / "cgroup") if line.startswith("0::")), None)
    allowed = _lines(Path("/sys/fs/cgroup") / (group or "").lstrip("/") / "memory.swap.max")
    return len(devices) > 1 and allowed != ["0"]


def _empty_input() -> Measure:  # (6)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if null != 0:
        os.close(null)
    return Measure("input_empty", Outcome.HELD, "standard input is empty")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _prctl(option: int, value: int) -> int:
    if sys.platform != "linux":
        return -1
    return int(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0))
