"""The whole of Cordon on one machine, as separate processes: sandbox processor, zone, commerce, MCP server.

For development, demonstration and tests. Each process has its own data, keys and database; commerce reaches the zone only over
mutual TLS, with the identity that the zone issued to it. A process that dies is started again.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess  # nosec B404  # starts our own programs, with fixed arguments and no shell
import sys
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from commerce_api.cli.init import make_commerce_keys
from commerce_api.cli.ports import HOST
from commerce_api.cli.refused import CommandRefused
from tokenization import listening

START_TIMEOUT_SECONDS = 60  # a first start migrates two databases on a slow disk
STOP_TIMEOUT_SECONDS = 40  # longer than a charge in flight may take
POLL_SECONDS = 0.05
RESTARTS_MAXIMUM = 5  # in RESTART_WINDOW_SECONDS; more means that starting again does not help
RESTART_WINDOW_SECONDS = 60
LOG_TAIL_LINES = 5
PIPE_BYTES = 1024  # a program says a line of some 15 bytes for each of two ports
RENEW_AFTER_SECONDS = 8 * 3600  # of the 24 hours that a certificate holds
RENEWAL_LOOK_SECONDS = 600
# A developer tries a few published test cards from one machine all day: what counts as card testing elsewhere.
DEVELOPMENT_LIMITS = {
    "*": {
        "checkout": {"window_seconds": 3600, "maximum": 1_000},
        "network": {"window_seconds": 3600, "maximum": 100_000},
        "bin_last4": {"window_seconds": 86_400, "maximum": 100_000},
        "card": {"window_seconds": 259_200, "maximum": 200_000},
    }
}


@dataclass
class Program:
    """One process of the stack: how it is started, where it listens, and where its health can be asked."""

    name: str
    arguments: list[str]
    ports: frozenset[int]
    health_url: str
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    told: int | None = None  # the reading end of the pipe in which it says whether it listens
    said: bytes = b""
    restarts: "deque[float]" = field(default_factory=lambda: deque(maxlen=RESTARTS_MAXIMUM))


class Stack:
    """Sets up the data directory, starts the programs in order, keeps them running, stops them in the reverse order."""

    def __init__(self, data: Path, ports: dict[str, int], databases: dict[str, str | None]) -> None:
        self.data = data.resolve()
        self.ports = ports
        self._databases = databases
        self.commerce_host = HOST  # "localhost" is a name, which passkeys need (commerce_api/authorization/passkeys.py)
        # Where each side is told that the other is. A recorder of the traffic puts itself in between here.
        self.zone_url_for_commerce = self.url("internal")
        self.processor_url_for_zone = self.url("processor")
        self.programs: list[Program] = []
        self._lock: int | None = None
        self._log_files: list[IO[bytes]] = []

    def url(self, listener: str) -> str:
        """The address of a listener."""
        scheme = "https" if listener == "internal" else "http"
        host = self.commerce_host if listener == "commerce" else HOST
        return f"{scheme}://{host}:{self.ports[listener]}"

    def set_up(self) -> None:
        """Takes the data directory and makes keys, identities and logs that are missing. Raises CommandRefused."""
        if find_spec("vault_zone") is None:
            raise CommandRefused("vault_zone is not installed here: `cordon up` needs a checkout with `make install`")
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self.data / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandRefused(
                f"a stack is running in {self.data} already: stop it, or choose another --data"
            ) from None
        zone, commerce = self.data / "zone", self.data / "commerce"
        if not (zone / "keys").exists():
            self._run_once("vault_zone", "init", "--data", str(zone))
            (zone / "limits.json").write_text(json.dumps(DEVELOPMENT_LIMITS, indent=2) + "\n", encoding="utf-8")
        if not (commerce / "keys").exists():
            make_commerce_keys(commerce)
        if not (commerce / "keys" / "oauth").exists():  # made before there were any
            from commerce_api.authorization.keys import rotate

            rotate(commerce / "keys" / "oauth")
        if not (commerce / "tls").exists() or not (zone / "tls" / "access.json").exists():
            self.issue_identity("commerce", commerce / "tls")
        self._renew_identities()
        (self.data / "logs").mkdir(exist_ok=True, mode=0o700)
        self.set_programs()

    def issue_identity(self, service: str, directory: Path, host: str | None = None) -> None:
        """Has the zone issue a certificate for a service that may call it, or that listens on ``host``."""
        host_arguments = ["--host", host] if host else []
        zone = str(self.data / "zone")
        self._run_once("vault_zone", "identity", service, "--data", zone, "--out", str(directory), *host_arguments)

    def _renew_identities(self) -> None:
        """Has certificates renewed that were issued a while ago; both sides take them up while they run."""
        zone, commerce = self.data / "zone", self.data / "commerce"
        for name, directory in (("zone", zone / "tls"), ("commerce", commerce / "tls")):
            age_seconds = time.time() - (directory / f"{name}.crt").stat().st_mtime
            if age_seconds > RENEW_AFTER_SECONDS:
                self._run_once("vault_zone", "identity", "renew", name, "--data", str(zone), "--out", str(directory))

    def set_programs(self) -> None:
        """Writes down how each program is started, with the addresses as they are now."""
        self.programs = self._programs()

    def start(self, on_ready: Callable[[str], None] = lambda name: None) -> None:
        """Starts every program and waits until it answers. Raises CommandRefused with the log's end of one that does not."""
        for program in self.programs:
            self._launch(program)
        for program in self.programs:
            self._await_health(program)
            on_ready(program.name)

    def keep_running(self, should_stop: Callable[[], bool], on_restart: Callable[[str], None]) -> None:
        """Starts a program again that died, until told to stop. Raises CommandRefused when that does not help."""
        next_look = time.monotonic() + RENEWAL_LOOK_SECONDS
        while not should_stop():
            time.sleep(POLL_SECONDS)
            if time.monotonic() > next_look:
                next_look = time.monotonic() + RENEWAL_LOOK_SECONDS
                self._renew_identities()
            for program in self.programs:
                if program.process is not None and program.process.poll() is not None and not should_stop():
                    self._restart(program, on_restart)

    def stop(self) -> None:
        """Ends every program in order, the last started first; one that does not end in time is killed."""
        for program in reversed(self.programs):
            if program.process is None:
                continue
            program.process.terminate()
            self._close_pipe(program)
            try:
                program.process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                program.process.kill()
                program.process.wait()
        for file in self._log_files:
            file.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def pids(self) -> dict[str, int]:
        """The process id of every program."""
        return {program.name: program.process.pid for program in self.programs if program.process is not None}

    def _programs(self) -> list[Program]:
        zone, commerce = self.data / "zone", self.data / "commerce"
        keys = zone / "keys"
        public, mcp = self.url("commerce"), self.url("mcp")
        shared = [
            *("--public-url", public, "--mcp-url", mcp),
            *("--zone-url", self.zone_url_for_commerce, "--capture-url", self.url("capture")),
        ]
        return [
            Program(
                "processor",
                [
                    *("vault_zone", "sandbox-processor", "--port", str(self.ports["processor"])),
                    *("--data", str(self.data / "processor")),
                    *("--api-key-file", str(keys / "processor-api.key")),
                    *("--webhook-url", f"{self.url('capture')}/webhooks/sandbox"),
                    *("--webhook-secret-file", str(keys / "processor-webhook.key")),
                ],
                frozenset({self.ports["processor"]}),
                f"{self.url('processor')}/health",
            ),
            Program(
                "zone",
                [
                    *("vault_zone", "serve", "--data", str(zone), "--processor-url", self.processor_url_for_zone),
                    *("--capture-port", str(self.ports["capture"]), "--internal-port", str(self.ports["internal"])),
                    *("--notices-url", f"{public}/zone/notices"),
                ],
                frozenset({self.ports["capture"], self.ports["internal"]}),
                f"{self.url('capture')}/health",
                self._database_environment("zone"),
            ),
            Program(
                "commerce",
                ["commerce_api", "serve", "--data", str(commerce), "--port", str(self.ports["commerce"]), *shared],
                frozenset({self.ports["commerce"]}),
                f"{public}/health",
                self._database_environment("commerce"),
            ),
            Program(
                "mcp",
                ["mcp_server", "--data", str(commerce), "--port", str(self.ports["mcp"]), *shared],
                frozenset({self.ports["mcp"]}),
                f"{mcp}/health",
                self._database_environment("commerce"),
            ),
        ]

    def _database_environment(self, side: str) -> dict[str, str]:
        """The database's URL holds a password, so it goes by the environment and not by the argument list."""
        url = self._databases[side]
        return {"CORDON_DATABASE_URL": url} if url else {}

    def _launch(self, program: Program) -> None:
        log = (self.data / "logs" / f"{program.name}.log").open("ab")
        self._log_files.append(log)
        clean = {name: value for name, value in os.environ.items() if name != "CORDON_DATABASE_URL"}
        self._close_pipe(program)
        program.told, telling = os.pipe()
        os.set_blocking(program.told, False)
        try:
            program.process = subprocess.Popen(  # nosec B603  # our own module, no shell, nothing from outside
                [sys.executable, "-m", *program.arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**clean, **program.environment, listening.PIPE: str(telling)},
                pass_fds=(telling,),
                start_new_session=True,  # Ctrl-C in the terminal is for this process, which then stops them in order
            )
        finally:
            os.close(telling)

    def _await_health(self, program: Program) -> None:
        """Waits until the program listens where it has to, and is well.

        Only what it says itself counts for the first: whoever took its port in the meantime may answer as if well.
        """
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            ended = program.process is not None and program.process.poll() is not None
            ports = self._heard(program)
            if refused := ports[listening.REFUSED]:
                raise CommandRefused(*(self._not_to_be_had(port) for port in sorted(refused)))
            if ended:
                break
            if program.ports <= ports[listening.LISTENING] and is_healthy(program.health_url):
                return
            time.sleep(POLL_SECONDS)
        raise CommandRefused(f"{program.name} did not start; the end of its log:", *self._log_tail(program))

    def _heard(self, program: Program) -> dict[str, set[int]]:
        """The ports of which the program has said that it listens, and those that it was refused."""
        if program.told is not None:
            with contextlib.suppress(BlockingIOError):
                program.said += os.read(program.told, PIPE_BYTES)
        lines = program.said.decode("ascii", "replace").splitlines()
        return {
            word: {port for port in program.ports if f"{word} {port}" in lines}
            for word in (listening.LISTENING, listening.REFUSED)
        }

    def _not_to_be_had(self, port: int) -> str:
        listener = next(name for name, number in self.ports.items() if number == port)
        return (
            f"port {port}, where {listener} has to listen, is in use: stop what uses it, or start again for a free one"
        )

    def _close_pipe(self, program: Program) -> None:
        if program.told is not None:
            os.close(program.told)
        program.told, program.said = None, b""

    def _restart(self, program: Program, on_restart: Callable[[str], None]) -> None:
        now = time.monotonic()
        if len(program.restarts) == RESTARTS_MAXIMUM and now - program.restarts[0] < RESTART_WINDOW_SECONDS:
            raise CommandRefused(f"{program.name} keeps ending; the end of its log:", *self._log_tail(program))
        program.restarts.append(now)
        self._launch(program)
        self._await_health(program)
        on_restart(program.name)

    def _log_tail(self, program: Program) -> list[str]:
        path = self.data / "logs" / f"{program.name}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return [f"  {line[:300]}" for line in lines[-LOG_TAIL_LINES:]] or ["  (empty)"]

    def _run_once(self, module: str, *arguments: str) -> None:
        done = subprocess.run(  # nosec B603  # our own module, no shell, nothing from outside
            [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode != 0:
            raise CommandRefused(
                f"{module} {arguments[0]} failed:", *done.stderr.strip().splitlines()[-LOG_TAIL_LINES:]
            )


def is_healthy(url: str) -> bool:
    """Whether a listener of ours answers its health address with 200."""
    # Straight to loopback: a proxy of the environment has no business here.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:  # nosec B310  # an http address that this module made
            status: int = answer.status
            return status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Tells whether SIGTERM or SIGINT has come since."""
    came: list[int] = []
    before = {
        name: signal.signal(name, lambda number, _: came.append(number)) for name in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield lambda: bool(came)
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def write_run_file(data: Path, description: dict[str, object]) -> None:
    """Keeps the description of the running stack in ``run.json``, for tools that come later."""
    path = data / "run.json"
    temporary = path.with_suffix(".tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(description, file, indent=2)
    temporary.replace(path)
