"""The process: what it refuses to start with, its logs, its end, and what is still there when it comes back."""

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.vault_zone.processors.sandbox_server.world import (
    API_KEY,
    TIMEOUT_AFTER,
    TIMEOUT_BEFORE,
    WEBHOOK_SECRET,
    charge_body,
)
from vault_zone.processors.sandbox_server.serve import REFUSED_TO_START, serve


class Inbox:
    """A webhook receiver on loopback: every request it takes is put into a queue."""

    def __init__(self) -> None:
        self.bodies: queue.Queue[dict[str, Any]] = queue.Queue()
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.bodies.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *_: object) -> None:  # noqa: A002  # the parameter's given name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/webhooks"

    @contextmanager
    def open(self) -> Iterator["Inbox"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A command line that is in order; the webhook URL leads nowhere."""
    (tmp_path / "api-key").write_text(f"{API_KEY}\n", encoding="ascii")
    (tmp_path / "webhook-secret").write_bytes(WEBHOOK_SECRET)
    return [
        *("--port", "0"),
        *("--data", str(tmp_path / "data")),
        *("--api-key-file", str(tmp_path / "api-key")),
        *("--webhook-url", "http://127.0.0.1:9/"),
        *("--webhook-secret-file", str(tmp_path / "webhook-secret")),
    ]


class Running:
    """The sandbox as a process of its own, and a client for it."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process = process
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._log = log
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        headers = {"Authorization": f"Bearer {API_KEY}"}
        base_url = f"http://127.0.0.1:{self.event('listening')['port']}"
        self.client = httpx.Client(base_url=base_url, headers=headers, trust_env=False, timeout=30)

    def _read(self) -> None:
        with self._log.open("a") as log:
            for line in self.process.stderr or ():
                log.write(line)
                self._events.put(json.loads(line))

    def event(self, name: str) -> dict[str, Any]:
        """The next event of that name in the log."""
        while (event := self._events.get(timeout=30))["event"] != name:
            pass
        return event

    def end(self, number: signal.Signals) -> int:
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def running(arguments: list[str], log: Path) -> Iterator[Running]:
    """From the moment it listens."""
    command = [sys.executable, "-m", "vault_zone.processors.sandbox_server", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        sandbox = Running(process, log)
        try:
            with sandbox.client:
                yield sandbox
        finally:
            process.terminate()
            process.wait(30)
            sandbox.reader.join()


def post(client: httpx.Client, key: str, **body: Any) -> httpx.Response:
    return client.post("/v1/charges", json=charge_body(**body), headers={"Idempotency-Key": key})


def test_charges_answers_and_undelivered_events_outlive_a_kill(arguments: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(arguments, log) as sandbox:
        first = post(sandbox.client, "k")
        assert sandbox.end(signal.SIGKILL) == -signal.SIGKILL
    inbox = Inbox()
    arguments[arguments.index("--webhook-url") + 1] = inbox.url
    with inbox.open(), running(arguments, log) as sandbox:
        second = post(sandbox.client, "k")
        event = inbox.bodies.get(timeout=30)
        counted = sandbox.client.get("/sandbox/charges").json()["count"]
    assert second.content == first.content
    assert second.headers["Idempotent-Replayed"] == "true"
    assert counted == 1
    assert event["data"] == first.json()


@pytest.mark.parametrize("number", [TIMEOUT_BEFORE, TIMEOUT_AFTER])
def test_a_held_connection_does_not_delay_the_end_and_gets_no_reply(
    arguments: list[str], tmp_path: Path, number: str
) -> None:
    outcome: queue.Queue[Exception | httpx.Response] = queue.Queue()

    def ask(client: httpx.Client) -> None:
        try:
            outcome.put(post(client, "held", number=number))
        except httpx.HTTPError as error:
            outcome.put(error)

    with running([*arguments, "--timeout-hold-seconds", "600"], tmp_path / "log") as sandbox:
        asking = threading.Thread(target=ask, args=[sandbox.client])
        asking.start()
        assert sandbox.event("holding")["seconds"] == "600"
        began = time.monotonic()
        assert sandbox.end(signal.SIGTERM) == 0
        took_seconds = time.monotonic() - began
        asking.join()
    assert isinstance(outcome.get(), httpx.RemoteProtocolError)
    assert took_seconds < 3


def test_the_process_logs_json_lines_that_hold_nothing_of_the_request(arguments: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(arguments, log) as sandbox:
        post(sandbox.client, "a-key-to-look-for", merchant="A merchant to look for")
        sandbox.client.get("/v1/charges/a-path-to-look-for?query-to-look-for=1")
        sandbox.event("webhook")
        assert sandbox.end(signal.SIGINT) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all(line["sandbox"] is True for line in lines)
    assert {line["event"] for line in lines} == {"listening", "request", "webhook", "stopped"}
    assert {(line["endpoint"], line["status"]) for line in lines if line["event"] == "request"} == {
        ("create_charge", 200),
        ("read_charge", 404),
    }
    text = log.read_text()
    assert "look" not in text
    assert API_KEY not in text
    assert WEBHOOK_SECRET.decode() not in text


def test_the_log_goes_to_a_file_when_one_is_named(arguments: list[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")  # a file whose first line can be waited for
    command = [sys.executable, "-m", "vault_zone.processors.sandbox_server", *arguments, "--log", str(tmp_path / "log")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        with (tmp_path / "log").open() as log:
            assert json.loads(log.readline())["event"] == "listening"
            process.terminate()
            assert json.loads(log.readline())["event"] == "stopped"
        assert process.communicate(timeout=30)[1] == ""
        assert process.returncode == 0


def test_it_does_not_start_on_a_port_that_is_taken(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert serve([*arguments, "--port", str(taken.getsockname()[1])]) == REFUSED_TO_START
    assert "cannot open the log, the data directory or the port" in capsys.readouterr().err


REFUSED = [
    (["--host", "0.0.0.0"], "--host is not a loopback address"),
    (["--host", "example.com"], "--host is not a loopback address"),
    (["--port", "70000"], "--port is from 0"),
    (["--slow-seconds", "-1"], "the waits are from 0"),
    (["--timeout-hold-seconds", "nan"], "the waits are from 0"),
    (["--refund-seconds", "3601"], "the waits are from 0"),
    (["--authorization-seconds", "0"], "--authorization-seconds is from 1"),
    (["--authorization-seconds", "nan"], "--authorization-seconds is from 1"),
    (["--webhook-url", "ftp://x/"], "--webhook-url is not an http(s) URL"),
    (["--webhook-url", "http://user:password@127.0.0.1/"], "--webhook-url is not an http(s) URL"),
    (["--public-url", "shop"], "--public-url is not an http(s) URL"),
    (["--api-key-file", "missing"], "--api-key-file does not name a readable file"),
    (["--webhook-secret-file", "missing"], "--webhook-secret-file does not name a readable file"),
    (["--webhook-ca-file", "missing"], "--webhook-ca-file does not name a readable file"),
]


@pytest.mark.parametrize(("extra", "reason"), REFUSED)
def test_it_does_not_start_on_a_bad_command_line_and_says_why(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, extra: list[str], reason: str
) -> None:
    assert serve([*arguments, *extra]) == REFUSED_TO_START
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["sandbox"]) == ("refused_to_start", True)
    assert line["reason"].startswith(reason) or reason in line["reason"]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("option", ["--api-key-file", "--webhook-secret-file", "--webhook-url", "--data", "--port"])
def test_it_does_not_start_without_any_of_what_it_needs(
    arguments: list[str], capsys: pytest.CaptureFixture[str], option: str
) -> None:
    place = arguments.index(option)
    assert serve(arguments[:place] + arguments[place + 2 :]) == REFUSED_TO_START
    assert option in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"short", b"\n" * 40, b"\xff" * 40, b"x" * 5000])
@pytest.mark.parametrize("option", ["--api-key-file", "--webhook-secret-file"])
def test_it_does_not_start_on_a_secret_that_is_none(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, content: bytes
) -> None:
    (tmp_path / "weak").write_bytes(content)
    assert serve([*arguments, option, str(tmp_path / "weak")]) == REFUSED_TO_START
    assert option in capsys.readouterr().err


@pytest.mark.parametrize("name", ["production", "Production", " PRODUCTION "])
def test_it_does_not_start_in_production(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("CORDON_ENVIRONMENT", name)
    assert serve([*arguments, "--allow-remote"]) == REFUSED_TO_START
    assert "does not run there" in capsys.readouterr().err


def test_it_does_not_start_on_a_store_of_another_version(
    arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with running(arguments, tmp_path / "log"):
        pass
    database = tmp_path / "data" / "sandbox.sqlite3"
    content = bytearray(database.read_bytes())
    content[60:64] = (99).to_bytes(4, "big")  # the user version: SQLite file format, section 1.3
    database.write_bytes(bytes(content))
    assert serve(arguments) == REFUSED_TO_START
    assert "give --data an empty one" in capsys.readouterr().err


def test_no_option_takes_a_secret_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(["--help"]) == 0
    text = capsys.readouterr().out
    assert "--api-key-file" in text
    assert "--api-key " not in text
    assert "--webhook-secret " not in text


def test_only_its_owner_can_read_the_store(arguments: list[str], tmp_path: Path) -> None:
    with running(arguments, tmp_path / "log"):
        pass
    assert os.stat(tmp_path / "data").st_mode & 0o077 == 0
    assert os.stat(tmp_path / "data" / "fingerprint.key").st_mode & 0o077 == 0
