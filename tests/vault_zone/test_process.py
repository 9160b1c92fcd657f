"""The process keeps its memory to itself: asked in a child process of its own, and each check against one that does not."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.requirement import requirement
from vault_zone.hazmat.process import Measure, Outcome, judge_swap

NOBODY = 65534
USER = (str(NOBODY),) if os.geteuid() == 0 else ()  # root may attach to anything: what is shown is about everybody else
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the measures are Linux's")


class Child(NamedTuple):
    """A running child and what it said of itself."""

    process: subprocess.Popen[str]
    said: dict[str, Any]


@contextmanager
def child(mode: str, *user: str, cwd: Path | None = None) -> Iterator[Child]:
    """Starts a child, waits until it has spoken, ends it."""
    arguments = [sys.executable, "-m", "tests.vault_zone.hardened_child", mode, *user]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLOUR": "red"}
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd, env=environment
    ) as process:
        assert process.stdout is not None
        try:
            yield Child(process, json.loads(process.stdout.readline()))
        finally:
            process.kill()


def gaps(said: dict[str, Any]) -> set[str]:
    """The measures that the kernel's own account of a process does not bear out."""
    status = said["status"]
    locked = status["VmLck"] != "0 kB"
    holds = {
        "core_limit": said["core_limit"] == [0, 0],
        "no_new_rights": status["NoNewPrivs"] == "1",
        "files_private": status["Umask"] == "0077",
        "input_empty": said["input"] == os.devnull,
        "no_swap": locked or said["measures"].get("no_swap") == "refused" or no_swap_here(),
    }
    return {name for name, held in holds.items() if not held}


def no_swap_here() -> bool:
    return len(Path("/proc/swaps").read_text(encoding="ascii").splitlines()) < 2


@requirement("2.2.1", "3.3.2")
def test_the_kernel_bears_out_what_a_hardened_process_says_of_itself() -> None:
    with child("hardened", *USER) as hardened:
        assert gaps(hardened.said) == set()
        said = hardened.said["measures"]
    assert {name for name, outcome in said.items() if outcome != "held"} <= {"no_swap"}


def test_a_process_that_does_not_harden_itself_is_found_by_the_same_check() -> None:
    with child("soft", *USER) as soft:
        assert gaps(soft.said) >= {"no_new_rights", "files_private", "input_empty"}


def test_memory_is_locked_where_the_system_allows_it_and_only_there() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    with child("hardened") as hardened:
        kilobytes = int(hardened.said["status"]["VmLck"].removesuffix(" kB"))
    assert (kilobytes > 10_000) == (os.geteuid() == 0 or most == resource.RLIM_INFINITY)


@pytest.mark.parametrize(
    ("may_lock", "has_swap", "outcome", "word"),
    [
        (False, True, Outcome.REFUSED, "8192 KiB"),
        (False, None, Outcome.REFUSED, "8192 KiB"),
        (True, True, Outcome.REFUSED, "refused the lock"),
        (False, False, Outcome.HELD, "no swap here; memory is not locked"),
    ],
)
def test_memory_that_is_not_locked_is_reported_as_such(
    may_lock: bool, has_swap: bool | None, outcome: Outcome, word: str
) -> None:
    measure = judge_swap(may_lock=may_lock, limit_bytes=8192 * 1024, has_swap=has_swap)
    assert measure.outcome is outcome
    assert word in measure.detail


def attempts_on(pid: int) -> dict[str, bool]:
    """What a process of the same user can do to another."""
    arguments = [sys.executable, "-m", "tests.vault_zone.hardened_child", "attach", str(pid), *USER]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    tried: dict[str, bool] = json.loads(done.stdout)
    return tried


@requirement("3.3.2")
def test_another_process_of_the_same_user_cannot_attach_or_read_its_memory() -> None:
    with child("hardened", *USER) as hardened:
        assert attempts_on(hardened.process.pid) == {"attached": False, "memory": False, "environ": False}


def test_the_attempt_succeeds_on_a_process_that_does_not_harden_itself() -> None:
    with child("soft", *USER) as soft:
        tried = attempts_on(soft.process.pid)
    assert tried["environ"]
    assert tried["memory"]
    assert tried["attached"] or yama_scope() > 0


def yama_scope() -> int:
    path = Path("/proc/sys/kernel/yama/ptrace_scope")
    return int(path.read_text(encoding="ascii")) if path.exists() else 0


def dumped_core(mode: str, directory: Path) -> bool:
    """Whether the kernel made a core of a child that was ended by SIGABRT, in its directory or for a collector."""
    with child(mode, cwd=directory) as running:
        os.kill(running.process.pid, signal.SIGABRT)
        _, status = os.waitpid(running.process.pid, 0)
        running.process.returncode = -signal.SIGABRT
    return os.WCOREDUMP(status) or any(directory.iterdir())


@requirement("3.3.2")
def test_an_aborted_process_leaves_no_core(tmp_path: Path) -> None:
    assert not dumped_core("hardened", tmp_path)


def test_a_process_that_does_not_harden_itself_leaves_a_core_where_the_system_makes_any(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    is_piped = Path("/proc/sys/kernel/core_pattern").read_text(encoding="utf-8").startswith("|")
    assert dumped_core("soft", tmp_path) == (os.geteuid() == 0 or most != 0 or is_piped)


def test_the_report_names_each_measure_and_its_remedy_in_words() -> None:
    command = [sys.executable, "-m", "vault_zone", "harden-report"]
    environment = {**os.environ, "SSLKEYLOGFILE": "/nowhere/at/all", "COLOUR": "a value"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert {line.split("  ")[0] for line in lines} <= {"held", "refused"}
    for words in ("no core dump", "not readable", "no new rights", "no swap", "files private", "input empty"):
        assert any(words in line for line in lines), words
    assert "unset SSLKEYLOGFILE" in lines[-1]
    assert "nowhere" not in done.stdout


def test_a_measure_says_whether_it_is_held() -> None:
    assert Measure("a", Outcome.HELD, "").is_held
    assert not Measure("a", Outcome.REFUSED, "").is_held
