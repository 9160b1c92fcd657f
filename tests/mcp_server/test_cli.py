"""`cordon-mcp` refuses what it could not serve with, before anything starts."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from mcp_server import cli

NEEDED = (
    "--public-url",
    "http://127.0.0.1:1",
    "--zone-url",
    "https://127.0.0.1:2",
    "--capture-url",
    "http://127.0.0.1:3",
)


@pytest.fixture(autouse=True)
def _logs_as_they_were(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tokenization.logs.install", lambda: None)
    yield
    structlog.reset_defaults()
    logging.getLogger("mcp").setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--workers", "0"),
        ("--workers", "65"),
        ("--workers", "many"),
        ("--anonymous-calls-per-second", "0"),
        ("--anonymous-calls-per-second", "nan"),
        ("--keyed-calls-per-second", "-1"),
        ("--keyed-calls-per-second", "inf"),
        ("--trusted-proxy", "10.0.0.1/8"),  # an address with host bits is a slip
        ("--trusted-proxy", "proxy.example"),
    ],
)
def test_an_option_out_of_its_bounds_is_not_understood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main(["--data", str(tmp_path), *NEEDED, *wrong])
    assert refused.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_without_keys_nothing_starts_however_many_workers_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(cli, "Workers", lambda *given: started.append(given))
    assert cli.main(["--data", str(tmp_path), *NEEDED, "--workers", "2"]) == 1
    assert "mcp-state.key is missing" in capsys.readouterr().err
    assert started == []
