"""Work in a thread comes back, whatever it raises."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from audit.threads import for_thread, in_thread

pytestmark = pytest.mark.anyio
SECONDS = 20  # a bound, not a pace


def runs_out(*numbers: int) -> int:
    return next(iter(numbers))


async def test_work_that_runs_out_of_an_iterator_fails_and_other_work_is_as_it_was() -> None:
    async with asyncio.timeout(SECONDS):
        assert await in_thread(runs_out, 7) == 7
        with pytest.raises(RuntimeError, match="StopIteration"):
            await in_thread(runs_out)
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 1, 0)


async def test_so_it_does_in_an_executor_of_ones_own() -> None:
    with ThreadPoolExecutor(1) as pool:
        async with asyncio.timeout(SECONDS):
            with pytest.raises(RuntimeError, match="StopIteration"):
                await asyncio.get_running_loop().run_in_executor(pool, for_thread(runs_out))


async def test_planted_without_the_guard_nobody_is_answered() -> None:
    """The future refuses what is set on it, and stays as it was though the thread has ended."""
    refused: list[type[BaseException]] = []
    told = asyncio.Event()

    def note(_: object, context: dict[str, object]) -> None:
        failure = context.get("exception")
        if isinstance(failure, BaseException):
            refused.append(type(failure))
        told.set()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(note)
    try:
        waiting = asyncio.ensure_future(asyncio.to_thread(runs_out))
        async with asyncio.timeout(SECONDS):
            await told.wait()
        assert refused == [TypeError]
        assert not waiting.done()
        waiting.cancel()
    finally:
        loop.set_exception_handler(None)
