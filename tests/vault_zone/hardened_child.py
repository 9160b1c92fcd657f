"""A process of its own for the tests of hardening: ``python -m tests.vault_zone.hardened_child MODE [USER]``.

It becomes the user, if one is given, hardens itself (or, as the negative control, does not), says what it was told, and lives
until its input ends. MODE ``attach PID`` tries what a debugger does and says what came of it.
"""

import ctypes
import json
import os
import resource
import sys

from vault_zone.cli.harden import harden
from vault_zone.hazmat.process import Measure

_PR_SET_DUMPABLE = 4
_PTRACE_ATTACH = 16


def become(user: int) -> None:
    """Gives up root for good. The kernel makes such a process not dumpable by itself, which would prove nothing: undone."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def attach(pid: int) -> dict[str, bool]:
    """Whether this process can attach to another and whether it can open its memory and read its environment."""
    libc = ctypes.CDLL(None, use_errno=True)
    attached = libc.ptrace(_PTRACE_ATTACH, pid, None, None) == 0
    return {"attached": attached, "memory": readable(f"/proc/{pid}/mem"), "environ": readable(f"/proc/{pid}/environ")}


def readable(path: str) -> bool:
    try:
        with open(path, "rb"):
            return True
    except OSError:
        return False


def main(mode: str, *more: str) -> None:
    """Runs the mode."""
    if mode == "attach":
        if len(more) > 1:
            become(int(more[1]))
        sys.stdout.write(json.dumps(attach(int(more[0]))) + "\n")
        return
    keep_open = os.dup(0)  # hardening empties standard input; a test still has to tell when it is done
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    unlimited = resource.RLIM_INFINITY if os.geteuid() == 0 else most
    resource.setrlimit(resource.RLIMIT_CORE, (unlimited, unlimited))
    if more:
        become(int(more[0]))
    measures: tuple[Measure, ...] = harden("development")[0] if mode == "hardened" else ()
    with open("/proc/self/status", encoding="utf-8") as lines:
        status = {key: value for key, _, value in (line.partition(":") for line in lines)}
    said = {
        "measures": {measure.name: measure.outcome.value for measure in measures},
        "status": {key: status[key].strip() for key in ("NoNewPrivs", "Umask", "VmLck")},
        "core_limit": resource.getrlimit(resource.RLIMIT_CORE),
        "input": os.readlink("/proc/self/fd/0") if mode == "hardened" else "",
    }
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    os.read(keep_open, 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
