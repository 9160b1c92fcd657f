"""`cordon-mcp` with several workers behind one address, as a program of its own beside a running stack."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.journeys.running import BRAND, ROOT, START_SECONDS, Running, wait_for

STOP_SECONDS = 60
WORKERS = 2
_RESTARTS_WITHOUT_END = """
import sys
from mcp_server import cli, workers

workers.RESTARTS_MAXIMUM = 10_000
sys.exit(cli.main(sys.argv[1:]))
"""


@dataclass
class Served:
    """`cordon-mcp --workers N` beside the stack's own MCP server, over the same database."""

    process: "subprocess.Popen[bytes]"
    port: int
    key: str  # the brand's: an anonymous caller's idempotency keys count for one session only

    @property
    def url(self) -> str:
        """The brand's endpoint."""
        return f"http://127.0.0.1:{self.port}/{BRAND}/mcp"

    def workers(self) -> list[int]:
        """The workers' process ids, oldest first."""
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in text.split()]

    def answers(self) -> bool:
        """Whether somebody listens."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health", trust_env=False, timeout=5).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def served(
    stack: Running, *more: str, workers: int = WORKERS, without_end: bool = False, ends_with: int = 0
) -> Iterator[Served]:
    """Until the block ends; then SIGTERM, and it must end well, or as the block ended it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    described = stack.described
    # A supervisor gives up on workers that keep ending. Where a test ends them one after another, it must not.
    program = ["-c", _RESTARTS_WITHOUT_END] if without_end else ["-m", "mcp_server"]
    process = subprocess.Popen(
        [
            *(sys.executable, *program, "--data", str(stack.data / "commerce"), "--port", str(port)),
            *("--public-url", described["commerce_url"], "--zone-url", described["zone_internal_url"]),
            *("--capture-url", described["capture_url"], "--workers", str(workers), *more),
        ],
        cwd=ROOT,
    )
    try:
        running = Served(process, port, stack.brand["agent_api_key"])
        wait_for(running.answers, "the workers do not answer", seconds=START_SECONDS)
        yield running
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == ends_with
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
