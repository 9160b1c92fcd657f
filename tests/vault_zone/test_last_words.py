"""A failure that nobody caught is told by kind and place. Each of the ways to fail is taken in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirement import requirement

NUMBER = "4242424242424242"
QUIET = """
import asyncio, gc, logging, sys, threading, warnings, faulthandler, tracemalloc
from tokenization import logs
from vault_zone.last_words import quieten, quieten_loop
faulthandler.enable()
tracemalloc.start()
logs.install()
quieten()
"""
LOUD = (
    "import asyncio, gc, logging, sys, threading, warnings\nquieten_loop = lambda loop: None\nlogging.basicConfig()\n"
)
# The number is written so that no scrubber of text can see it: what keeps it in is that nothing is printed at all.
HELD = "held = '-x-'.join('4242424242424242')\n"
FAILURES = {
    "uncaught": "raise ValueError(held)",
    "in a thread": "def fail(): raise ValueError(held)\nt = threading.Thread(target=fail)\nt.start()\nt.join()",
    "in a finaliser": "class A:\n    def __del__(self): raise ValueError(held)\na = A()\ndel a\ngc.collect()",
    "in a loop": (
        "async def main():\n    loop = asyncio.get_running_loop()\n    quieten_loop(loop)\n"
        "    loop.call_soon(int, held)\n    await asyncio.sleep(0)\nasyncio.run(main())"
    ),
    "in a task": (
        "async def fail(): raise ValueError(held)\n"
        "async def main():\n    quieten_loop(asyncio.get_running_loop())\n    asyncio.create_task(fail())\n"
        "    await asyncio.sleep(0)\n    gc.collect()\nasyncio.run(main())\ngc.collect()"
    ),
    "in a log line": "logging.getLogger('a').error('%d', held)",
    "as a warning": "warnings.warn(held)",
}


def said(start: str, failure: str) -> str:
    """All that a process prints that fails in this way."""
    code = start + HELD + failure
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root())
    return done.stdout + done.stderr


def root() -> Path:
    return Path(__file__).parents[2]


@requirement("3.4.1", "6.2.4")
@pytest.mark.parametrize("failure", FAILURES)
def test_no_value_is_in_what_is_said(failure: str) -> None:
    words = said(QUIET, FAILURES[failure])
    assert "4-x-2" not in words
    assert "Traceback" not in words


@pytest.mark.parametrize("failure", FAILURES)
def test_python_itself_would_have_said_it(failure: str) -> None:
    assert "4-x-2" in said(LOUD, FAILURES[failure])


def test_kind_and_place_are_told() -> None:
    assert "failed cause=ValueError at" in said(QUIET, FAILURES["uncaught"])
    assert "failed_in_thread cause=ValueError at" in said(QUIET, FAILURES["in a thread"])
    assert "failed_in_finaliser cause=ValueError at" in said(QUIET, FAILURES["in a finaliser"])
    assert "failed_in_loop cause=ValueError" in said(QUIET, FAILURES["in a loop"])


def test_what_prints_memory_is_off_and_no_debugger_opens() -> None:
    words = said(QUIET, "breakpoint()\nprint(faulthandler.is_enabled(), tracemalloc.is_tracing())")
    assert "breakpoint_ignored" in words
    assert "False False" in words
