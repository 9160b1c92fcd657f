"""House rules that a linter does not check: one clock, money in whole minor units, no print, no assert in what ships."""

import pytest

from tests.architecture.checks import Check, asserts, clock_reads, float_money, prints, unguarded_threads
from tests.architecture.repository import PACKAGES, Source, sources

# Everything else is told the time, so that a test can tell it another. Each exception carries its reason.
MAY_READ_THE_CLOCK = {
    "tokenization/clock.py": "it is the clock",
    "commerce_api/cli/doctor.py": "asks whether the machine's clock is set",
    "commerce_api/cli/stack.py": "waits for programs to start; no test may shorten that wait by telling it another time",
    "vault_zone/processors/sandbox_server/serve.py": "stands for another company's machine, with a clock of its own",
    "audit/cli.py": "prints when it verified; audit imports nothing of tokenization",
}


def found(check: Check) -> dict[str, list[str]]:
    """What a check finds in the shipped packages, by file."""
    return {file.path: faults for file in sources(*PACKAGES) if (faults := check(file))}


def test_only_the_clock_reads_the_time() -> None:
    assert {path: faults for path, faults in found(clock_reads).items() if path not in MAY_READ_THE_CLOCK} == {}


def test_every_exception_for_the_clock_is_needed() -> None:
    assert set(MAY_READ_THE_CLOCK) <= set(found(clock_reads))


def test_work_in_threads_always_comes_back() -> None:
    assert set(found(unguarded_threads)) == {"audit/threads.py"}, "it is the guard"


@pytest.mark.parametrize("check", [prints, asserts, float_money])
def test_shipped_code_holds_no_such_thing(check: Check) -> None:
    assert found(check) == {}


@pytest.mark.parametrize(
    ("check", "planted"),
    [
        (clock_reads, "import time\ntime.time()"),
        (clock_reads, "import time as t\nt.monotonic()"),
        (clock_reads, "from time import time_ns as now\nnow()"),
        (clock_reads, "import time\nclock = time.monotonic"),
        (clock_reads, "import datetime\ndatetime.datetime.now(datetime.UTC)"),
        (clock_reads, "from datetime import datetime\ndatetime.utcnow()"),
        (clock_reads, "from datetime import date\ndate.today()"),
        (clock_reads, 'import time\ntime.strftime("%Y")'),
        (clock_reads, "from time import gmtime\ngmtime()"),
        (clock_reads, "from sqlalchemy import func\nfunc.now()"),
        (prints, "def f(card):\n    print(card)"),
        (asserts, "def f(x):\n    assert x"),
        (unguarded_threads, "import asyncio\nasyncio.to_thread(work)"),
        (unguarded_threads, "from asyncio import to_thread as away\naway(work)"),
        (unguarded_threads, "loop.run_in_executor(pool, work)"),
        (unguarded_threads, "loop.run_in_executor(pool, guarded(work), 1)"),
        (unguarded_threads, "loop.run_in_executor(None)"),
        (float_money, "amount_minor: float = 0"),
        (float_money, "class A:\n    total_minor: float | None"),
        (float_money, "def f(amount_minor: float): ..."),
        (float_money, "def f(*, price_minor: 'int' = 0, tax_minor: float): ..."),
        (float_money, "def total_minor() -> float: ..."),
        (float_money, "float(order.amount_minor)"),
        (float_money, "float(tax_minor + 1)"),
        (float_money, "order.amount_minor / 2"),
        (float_money, "amount_minor * 0.2"),
        (float_money, "1.2 * self.amount_minor"),
    ],
)
def test_a_planted_fault_is_seen(check: Check, planted: str) -> None:
    assert len(check(Source("planted.py", planted))) == 1


@pytest.mark.parametrize(
    ("check", "innocent"),
    [
        (clock_reads, "import time\ntime.gmtime(0)\ntime.sleep(1)"),
        (clock_reads, 'import time\ntime.strftime("%Y", moment)'),
        (clock_reads, "from datetime import datetime, UTC\ndatetime.fromtimestamp(0, UTC)"),
        (clock_reads, "def f(time):\n    return time.time()"),
        (unguarded_threads, "in_thread(work)\nloop.run_in_executor(pool, for_thread(work), 1)"),
        (prints, "sys.stdout.write('x')\nconsole.print('x')"),
        (float_money, "amount_minor: int = 0\namount_minor // 2\nfloat(seconds)\ntimeout_seconds: float"),
    ],
)
def test_innocent_code_passes(check: Check, innocent: str) -> None:
    assert check(Source("innocent.py", innocent)) == []
