"""A port that another program takes between the stack's look and its start, whenever that is, is named with what to do."""

import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from commerce_api.cli.ports import USUAL, choose_ports
from commerce_api.cli.refused import CommandRefused
from commerce_api.cli.stack import Program, Stack
from tokenization import listening

STOP_SECONDS = 30


class Well(http.server.BaseHTTPRequestHandler):
    """Says that it is well, whatever is asked, as another stack's program does."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def another_on(port: int) -> Iterator[None]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Well) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that is set up, and not in use."""
    directory = tmp_path_factory.mktemp("stack") / "data"
    made = Stack(directory, choose_ports(0)[0], {"zone": None, "commerce": None})
    made.set_up()
    made.stop()
    return directory


@pytest.fixture
def stack(data: Path, tmp_path: Path) -> Iterator[Stack]:
    """A stack that has looked for its ports, and has started nothing yet."""
    shutil.copytree(data, tmp_path / "data")
    made = Stack(tmp_path / "data", choose_ports(0)[0], {"zone": None, "commerce": None})
    with ExitStack() as closing:
        made.set_up()
        closing.callback(made.stop)
        yield made


def only(stack: Stack, *names: str) -> Program:
    """Leaves these programs in the stack; returns the first."""
    stack.programs = [program for program in stack.programs if program.name in names]
    return stack.programs[0]


PROGRAM_OF = {"capture": "zone", "internal": "zone", "processor": "processor", "commerce": "commerce", "mcp": "mcp"}


@pytest.mark.parametrize("listener", USUAL)
def test_a_port_that_was_taken_after_the_look_is_named_with_who_wants_it(stack: Stack, listener: str) -> None:
    ready: list[str] = []
    only(stack, PROGRAM_OF[listener])
    with another_on(stack.ports[listener]), pytest.raises(CommandRefused) as refused:
        stack.start(ready.append)
    (line,) = refused.value.lines
    assert line.startswith(
        f"port {stack.ports[listener]}, where {listener} has to listen, is in use: stop what uses it"
    )
    assert ready == [], "the other's health is not ours"


def test_a_port_that_was_taken_while_a_program_was_away_is_named_too(stack: Stack) -> None:
    program = only(stack, "processor")
    stack.start()
    assert program.process is not None
    program.process.kill()
    program.process.wait(STOP_SECONDS)
    restarted: list[str] = []
    with another_on(stack.ports["processor"]), pytest.raises(CommandRefused) as refused:
        stack.keep_running(lambda: False, restarted.append)
    assert "where processor has to listen" in refused.value.lines[0]
    assert restarted == []


def test_planted_health_alone_takes_another_program_for_ours(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Stack, "_heard", lambda _, program: {listening.LISTENING: set(program.ports), listening.REFUSED: set()}
    )
    only(stack, "commerce")
    ready: list[str] = []
    with another_on(stack.ports["commerce"]):
        stack.start(ready.append)
    assert ready == ["commerce"]
