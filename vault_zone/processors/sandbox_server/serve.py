"""The sandbox's command line: reads its secrets from files, binds a loopback address, serves until told to stop."""

import argparse
import asyncio
import ipaddress
import logging
import os
import secrets
import signal
import socket
import sqlite3
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import uvicorn
from pydantic import TypeAdapter, ValidationError

from tokenization import listening
from vault_zone.processors.sandbox_server.app import Ports, build
from vault_zone.processors.sandbox_server.connection import ClosingProtocol
from vault_zone.processors.sandbox_server.logs import LibraryLines, Log
from vault_zone.processors.sandbox_server.schema import StoreUnusable
from vault_zone.processors.sandbox_server.store import Store
from vault_zone.processors.sandbox_server.timing import Timing
from vault_zone.processors.sandbox_server.webhooks import webhook_client
from vault_zone.processors.sandbox_server.wire import WebAddress

REFUSED_TO_START: Final = 2
SHORTEST_SECRET: Final = 16  # characters: a shorter one can be guessed over the network
LONGEST_SECRET_FILE_BYTES: Final = 4096
LONGEST_WAIT_SECONDS: Final = 3_600
LONGEST_AUTHORIZATION_SECONDS: Final = 31 * 86_400  # no scheme holds money for longer
KEEP_ALIVE_SECONDS: Final = 75  # longer than clients keep idle connections, so that no request meets a closing one
GRACE_SECONDS: Final = 1  # for replies under way when told to stop; held connections are closed at once
_ID_BYTES: Final = 16  # 128 random bits: the address of a challenge is all that guards it
_LETTERS_FOR_HEX: Final = str.maketrans("0123456789abcdef", "bcdfghjkmnpqrstv")  # no digits: never taken for a card


class StartRefused(Exception):
    """The sandbox does not start; the text says what to change and holds no secret."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asks for, checked."""

    host: str
    port: int
    public_url: str | None
    data: Path
    api_key: bytes
    webhook_url: str
    webhook_secret: bytes
    webhook_verify: ssl.SSLContext | bool
    timing: Timing
    log: Path | None


def serve(argv: Sequence[str]) -> int:
    """Runs the sandbox until SIGTERM or SIGINT. Returns 0 after a clean stop, 2 when it refuses to start."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse has said why, or shown its help
        return REFUSED_TO_START if stop.code else 0
    with ExitStack() as stack:
        try:
            settings = _settings(arguments, os.environ)
            stream = stack.enter_context(settings.log.open("a", encoding="utf-8")) if settings.log else sys.stderr
            store = Store(settings.data)
            stack.callback(store.close)
            listener = stack.enter_context(_listener(settings))
        except StartRefused as refused:
            return _refuse(str(refused))
        except StoreUnusable as unusable:
            return _refuse(str(unusable))
        except (OSError, sqlite3.Error) as failed:
            return _refuse(f"cannot open the log, the data directory or the port ({type(failed).__name__})")
        _run(settings, store, listener, stream)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sandbox-processor",
        description="A stand-in for a card processor. Sandbox: no money moves; published test numbers only.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to bind; 0 picks a free one, see the log")
    parser.add_argument("--public-url", help="how a browser reaches this server (default: from host and port)")
    parser.add_argument("--data", type=Path, required=True, help="directory of the store")
    parser.add_argument("--api-key-file", type=Path, required=True, help="file with the API key")
    parser.add_argument("--webhook-url", required=True, help="where events are sent")
    parser.add_argument("--webhook-secret-file", type=Path, required=True, help="file with the secret that signs them")
    parser.add_argument("--webhook-ca-file", type=Path, help="PEM certificates to trust at the webhook URL")
    parser.add_argument("--timeout-hold-seconds", type=float, default=30.0, help="silence of the timeout cards")
    parser.add_argument("--slow-seconds", type=float, default=2.0, help="delay of the slow card")
    parser.add_argument("--refund-seconds", type=float, default=2.0, help="how long the late refunds are pending")
    parser.add_argument(
        "--authorization-seconds", type=float, default=604_800.0, help="how long an authorization holds the money"
    )
    parser.add_argument("--log", type=Path, help="file for the log (default: standard error)")
    parser.add_argument("--allow-remote", action="store_true", help="permit an address other machines can reach")
    return parser


def _settings(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """The checked settings. Raises StartRefused.

    1. Never in production.
    2. Never reachable from another machine unless that was asked for.
    3. Never without secrets, and those from files only: a command line is visible to every process.
    """
    if environ.get("CORDON_ENVIRONMENT", "").strip().lower() == "production":  # (1)
        raise StartRefused("CORDON_ENVIRONMENT is production: the sandbox processor does not run there")
    if not arguments.allow_remote and not _is_loopback(arguments.host):  # (2)
        raise StartRefused("--host is not a loopback address: add --allow-remote if other machines may reach it")
    timing = _timing(arguments)
    if not 0 <= arguments.port <= 65535:
        raise StartRefused("--port is from 0 to 65535")
    public_url: str | None = arguments.public_url
    return Settings(
        host=arguments.host,
        port=arguments.port,
        public_url=None if public_url is None else _address(public_url, "--public-url").rstrip("/"),
        data=arguments.data,
        api_key=_secret(arguments.api_key_file, "--api-key-file"),  # (3)
        webhook_url=_address(arguments.webhook_url, "--webhook-url"),
        webhook_secret=_secret(arguments.webhook_secret_file, "--webhook-secret-file"),  # (3)
        webhook_verify=_trust(arguments.webhook_ca_file),
        timing=timing,
        log=arguments.log,
    )


def _timing(arguments: argparse.Namespace) -> Timing:
    waits = (arguments.timeout_hold_seconds, arguments.slow_seconds, arguments.refund_seconds)
    if not all(0 <= seconds <= LONGEST_WAIT_SECONDS for seconds in waits):
        raise StartRefused("the waits are from 0 to 3600 seconds")
    if not 1 <= arguments.authorization_seconds <= LONGEST_AUTHORIZATION_SECONDS:
        raise StartRefused("--authorization-seconds is from 1 to 2678400")
    hold, slow, refund = waits
    return Timing(
        timeout_hold_seconds=hold,
        slow_seconds=slow,
        refund_seconds=refund,
        authorization_seconds=arguments.authorization_seconds,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(text: str, option: str) -> str:
    try:
        return TypeAdapter[str](WebAddress).validate_python(text)
    except ValidationError:
        pass
    raise StartRefused(f"{option} is not an http(s) URL without credentials")


def _secret(path: Path, option: str) -> bytes:
    """The secret in the file, without the newline that editors add."""
    try:
        if path.stat().st_size > LONGEST_SECRET_FILE_BYTES:
            raise StartRefused(f"{option} is longer than a secret can be")
        secret = path.read_bytes().strip()
    except OSError:
        secret = b""
    if len(secret) < SHORTEST_SECRET or not secret.isascii():
        raise StartRefused(f"{option} does not name a readable file with at least {SHORTEST_SECRET} ASCII characters")
    return secret


def _trust(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        pass
    raise StartRefused("--webhook-ca-file does not name a readable file of PEM certificates")


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
    except OSError:
        listener.close()
        listening.tell(listening.REFUSED, settings.port)
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn, which tells the application that it stops before it waits for the requests under way."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event, log: Log, port: int) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._log = log
        self._port = port

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen, and says so."""
        await super().startup(sockets)
        self._log("listening", port=self._port)
        listening.tell(listening.LISTENING, self._port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends the held connections, then everything else."""
        self._stopping.set()
        await super().shutdown(sockets)
        self._log("stopped")


def _run(settings: Settings, store: Store, listener: socket.socket, stream: TextIO) -> None:
    log = Log(stream, _now_milliseconds)
    port = int(listener.getsockname()[1])
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    ports = Ports(
        store=store,
        api_key=settings.api_key,
        public_url=settings.public_url or f"http://{host}:{port}",
        webhook_url=settings.webhook_url,
        webhook_secret=settings.webhook_secret,
        webhook_client=webhook_client(settings.webhook_verify),
        clock=_now_milliseconds,
        new_id=_new_id,
        waiter=asyncio.sleep,
        log=log,
        timing=settings.timing,
    )
    config = uvicorn.Config(
        build(ports).app,
        http=ClosingProtocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with _library_lines(log), _quiet_signals():
        _Server(config, ports.stopping, log, port).run(sockets=[listener])


@contextmanager
def _library_lines(log: Log) -> Iterator[None]:
    """While serving, what libraries log goes through our log."""
    handler, root = LibraryLines(log), logging.getLogger()
    earlier, root.handlers[:] = list(root.handlers), [handler]
    try:
        yield
    finally:
        root.handlers[:] = earlier


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more when it has stopped; here that is the end of the story."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _refuse(reason: str) -> int:
    Log(sys.stderr, _now_milliseconds)("refused_to_start", reason=reason)
    return REFUSED_TO_START


def _now_milliseconds() -> int:
    """The process's one look at the clock; everything below is told the time."""
    return time.time_ns() // 1_000_000


def _new_id() -> str:
    return secrets.token_hex(_ID_BYTES).translate(_LETTERS_FOR_HEX)
