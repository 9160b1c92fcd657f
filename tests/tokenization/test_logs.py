"""One scrubbed handler for every logger of the process (I1, I2)."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tokenization import logs

CARD = "4242 4242 4242 4242"
_NAMES = ("uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpcore")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The process's log, installed as a program does it; everything is put back afterwards."""
    root = logging.root.handlers[:], logging.root.level
    others = {
        name: (logging.getLogger(name).handlers[:], logging.getLogger(name).propagate, logging.getLogger(name).level)
        for name in _NAMES
    }
    text = io.StringIO()
    logs.install(text, "DEBUG")
    structlog.configure(processors=list(logs.PROCESSORS), logger_factory=structlog.stdlib.LoggerFactory())
    yield text
    structlog.reset_defaults()
    logging.root.handlers[:], level = root
    logging.root.setLevel(level)
    for name, (handlers, propagate, own_level) in others.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = handlers
        logger.propagate = propagate
        logger.setLevel(own_level)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """The log's lines."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(text: str) -> None:
    """Fails with this text."""
    raise ValueError(text)


def raise_and_log(logger: Any, text: str) -> None:
    """Logs a failure with its traceback."""
    try:
        fail(text)
    except ValueError:
        logger.exception("it failed")


def test_a_line_is_one_json_object_with_time_level_logger_and_event(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("two %s", "words")
    [line] = lines(stream)
    assert line.keys() == {"at", "level", "logger", "event"}
    assert (line["level"], line["logger"], line["event"]) == ("warning", "some.library", "two words")
    assert line["at"].endswith("Z")


@pytest.mark.parametrize("name", ["commerce_api", "some.library", "uvicorn.error", "asyncio"])
def test_no_message_argument_or_exception_carries_a_card_out(stream: io.StringIO, name: str) -> None:
    logger = logging.getLogger(name)
    logger.error("card " + CARD)
    logger.error("card %s and %s", CARD, {"number": CARD.replace(" ", "")})
    raise_and_log(logger, CARD)
    logger.error("%s-%s", "4242 4242", "4242 4242")
    assert len(lines(stream)) == 4
    assert "4242" not in stream.getvalue()


def test_structured_events_lose_their_cards_and_keep_the_rest(stream: io.StringIO) -> None:
    structlog.get_logger("commerce_api").warning("charge_failed", cause="KeyError at x.py:1", note=CARD, count=3)
    [line] = lines(stream)
    assert line["event"].startswith("charge_failed ")
    assert "cause=KeyError at x.py:1" in line["event"]
    assert "count=3" in line["event"]
    assert "4242" not in stream.getvalue()


def test_planted_fault_a_plain_formatter_lets_the_card_out(stream: io.StringIO) -> None:
    logging.root.handlers[0].setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("some.library").error("card " + CARD)
    assert CARD in stream.getvalue()


def test_installing_replaces_every_other_handler(stream: io.StringIO) -> None:
    own = stream
    logging.getLogger("uvicorn.access").addHandler(logging.StreamHandler())
    logs.install(own)
    assert [type(handler.formatter) for handler in logging.root.handlers] == [logs.ScrubbedJson]
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        assert logging.getLogger(name).handlers == []


def test_access_lines_and_library_chatter_that_hold_addresses_are_left_out(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.access").info("GET /c/cap_secret")
    logging.getLogger("httpx").info("HTTP Request: POST http://127.0.0.1/c/cap_secret")
    assert stream.getvalue() == ""


@given(text=st.text())
def test_any_text_at_all_becomes_one_line(text: str) -> None:
    record = logging.LogRecord("any", logging.INFO, "", 0, "%s", (text,), None)
    written = logs.ScrubbedJson().format(record)
    assert len(written.splitlines()) == 1 or "\u2028" in text or "\u2029" in text or "\x85" in text
    assert "\n" not in written


@given(text=st.text(min_size=1))
def test_the_cause_of_a_failure_is_its_kind_and_place_and_never_its_text(text: str) -> None:
    try:
        fail(f"<{text}>")
    except ValueError as failure:
        cause = logs.cause_of(failure)
    assert cause.startswith("ValueError at test_logs.py:")
    assert f"<{text}>" not in cause
    assert logs.cause_of(KeyError(text)) == "KeyError"
