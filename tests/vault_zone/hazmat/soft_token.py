"""A SoftHSM2 token in a directory of its own, and what can happen to a token: removed, put back, reset, used by others.

SoftHSM reads its configuration once a process, so all tokens of a run lie in one directory.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/opt/homebrew/lib/softhsm/libsofthsm2.so"),
)
PIN, OFFICER_PIN = "sesame-opens", "officer-only"


def module() -> Path | None:
    """SoftHSM2's module, where it is installed."""
    return next((path for path in MODULES if path.is_file() and shutil.which("softhsm2-util")), None)


@cache
def tokens_directory() -> Path:
    """Where this run's tokens lie; SOFTHSM2_CONF points there from now on."""
    home = Path(tempfile.mkdtemp(prefix="cordon-softhsm-"))
    (home / "tokens").mkdir()
    (home / "softhsm2.conf").write_text(
        f"directories.tokendir = {home / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n", encoding="utf-8"
    )
    os.environ["SOFTHSM2_CONF"] = str(home / "softhsm2.conf")
    return home / "tokens"


def make_token(label: str) -> None:
    """Initialises a fresh token."""
    tokens_directory()
    _util("--init-token", "--free", "--label", label, "--so-pin", OFFICER_PIN, "--pin", PIN)


def delete_token(label: str) -> None:
    """The token and all its keys are gone for good."""
    _util("--delete-token", "--token", label)


@contextmanager
def tokens_away() -> Iterator[None]:
    """The device is pulled out, and put back."""
    tokens, away = tokens_directory(), tokens_directory().with_name("away")
    tokens.rename(away)
    try:
        yield
    finally:
        away.rename(tokens)


def _util(*arguments: str) -> None:
    subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True, timeout=60)
