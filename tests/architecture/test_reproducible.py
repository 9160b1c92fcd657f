"""A wheel is a function of the checkout: built elsewhere, later and under another umask it has the same bytes."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.architecture.repository import HOLDS, ROOT
from tests.architecture.wheels import UV, run
from tests.requirement import requirement

NEEDED = ("pyproject.toml", "deployables.py", "README.md")


def checkout(directory: Path, *, umask: int, modified_seconds: int, packages: list[str]) -> Path:
    """A copy of what a wheel is built from, made at another time, in another order, with other permissions."""
    before = os.umask(umask)
    try:
        directory.mkdir(parents=True)
        for name in reversed([*NEEDED, *packages]):
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, directory / name, copy_function=shutil.copyfile, ignore=ignored)
            else:
                shutil.copyfile(source, directory / name)
    finally:
        os.umask(before)
    for path in [directory, *directory.rglob("*")]:
        os.utime(path, (modified_seconds, modified_seconds))
        path.chmod(path.stat().st_mode & ~umask)
    return directory


def digest(deployable: str, source: Path, **environment: str) -> str:
    """The SHA-256 of a wheel that is built from a checkout."""
    out = source.parent / f"{source.name}-wheels"

    options = ("--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", out)
    done = run(*UV, "build", *options, source, cwd=source.parent, CORDON_DEPLOYABLE=deployable, **environment)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@requirement("6.3.2")
@pytest.mark.parametrize("deployable", ["zone"])
def test_a_wheel_has_the_same_bytes_wherever_whenever_and_by_whomever_it_is_built(
    deployable: str, tmp_path: Path
) -> None:
    packages = HOLDS[deployable]
    here = checkout(tmp_path / "a", umask=0o022, modified_seconds=1_700_000_000, packages=packages)
    there = checkout(
        tmp_path / "quite" / "elsewhere", umask=0o077, modified_seconds=1_790_000_000, packages=packages[::-1]
    )
    assert digest(deployable, here) == digest(
        deployable, there, TZ="Asia/Tokyo", PYTHONHASHSEED="7", SOURCE_DATE_EPOCH="1700000000"
    )


@pytest.mark.parametrize("deployable", ["zone"])
def test_a_changed_character_is_seen(deployable: str, tmp_path: Path) -> None:
    built = []
    for name, text in (("a", ""), ("b", "\n# x\n")):
        source = checkout(tmp_path / name, umask=0o022, modified_seconds=1_700_000_000, packages=HOLDS[deployable])
        with (source / "vault_zone" / "card.py").open("a", encoding="utf-8") as file:
            file.write(text)
        built.append(digest(deployable, source))
    assert len(set(built)) == 2
