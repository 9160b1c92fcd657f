"""Several processes behind one address: they share the listening socket, the request-state key and the table of rates.

What holds:
 1. Any worker can answer any request: none keeps anything of a client.
 2. A worker that ends is started again; one that keeps ending ends them all, loudly.
 3. SIGTERM and SIGINT end every worker in order; what is in hand is finished first.
 4. Where this process is gone, however it went, its workers end too: they read a pipe that nobody else holds the other end of.
    Else they would keep the address, and answer by the programs of before.
"""

import asyncio
import os
import signal
import socket
import subprocess  # nosec B404  # our own module, no shell
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tokenization.clock import monotonic_seconds

RESTARTS_MAXIMUM: Final = 5
RESTART_WINDOW_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1
STOP_SECONDS: Final = 40.0  # longer than a worker takes over requests in hand
BACKLOG: Final = 2048


@dataclass
class Workers:
    """``count`` processes of ``cordon-mcp`` with these arguments."""

    arguments: Sequence[str]
    count: int
    listener: socket.socket
    table: int
    _processes: "list[subprocess.Popen[bytes]]" = field(default_factory=list)
    _restarts: "deque[float]" = field(default_factory=lambda: deque(maxlen=RESTARTS_MAXIMUM))
    _stopping: bool = False

    def run(self) -> int:
        """Serves until a signal. Returns 0, or 1 where workers kept ending."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._processes = [self._start() for _ in range(self.count)]
        try:
            while not self._stopping:
                time.sleep(POLL_SECONDS)
                if not self._all_kept():
                    sys.stderr.write("cordon-mcp: a worker keeps ending; see its messages above\n")
                    return 1
            return 0
        finally:
            self._end()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _all_kept(self) -> bool:
        """Starts anew what has ended; False where it ends too often (2)."""
        for place, process in enumerate(self._processes):
            if process.poll() is None or self._stopping:
                continue
            now = monotonic_seconds()
            if len(self._restarts) == RESTARTS_MAXIMUM and now - self._restarts[0] < RESTART_WINDOW_SECONDS:
                return False
            self._restarts.append(now)
            self._processes[place] = self._start()
        return True

    def _start(self) -> "subprocess.Popen[bytes]":
        shared = (self.listener.fileno(), self.table)
        return subprocess.Popen(  # nosec B603  # our own module, no shell, nothing from outside
            [
                *(sys.executable, "-m", "mcp_server", *self.arguments),
                *("--listener", str(shared[0]), "--rates-table", str(shared[1])),
            ],
            pass_fds=shared,
            stdin=subprocess.PIPE,  # (4)
        )

    def _end(self) -> None:
        """Ends every worker (3)."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.listener.close()
        os.close(self.table)


async def until_alone() -> None:
    """Returns when the process that started this worker is gone (4)."""
    alone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), lambda: alone.set() if not os.read(sys.stdin.fileno(), 1) else None)
    try:
        await alone.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())


def listen(host: str, port: int) -> socket.socket:
    """A listening socket that workers can share."""
    return socket.create_server(
        (host, port), backlog=BACKLOG, family=socket.AF_INET6 if ":" in host else socket.AF_INET
    )
