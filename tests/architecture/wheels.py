"""Builds each deployable's wheel and installs it into an environment that holds nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.architecture.repository import LOCKS

UV = (sys.executable, "-m", "uv")
# What uv says when a package could not be fetched, in contrast to one that was fetched and is not the right one.
UNREACHABLE = ("failed to fetch", "error sending request", "dns error", "connect error", "timed out")
_OURS = ("CORDON_DEPLOYABLE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, whatever comes of it, without what the caller's environment would change."""
    clean = {name: value for name, value in os.environ.items() if name not in _OURS}
    arguments = [str(part) for part in command]
    return subprocess.run(
        arguments, cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, check=False, timeout=200
    )


def build(deployable: str, checkout: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Builds the wheel of a deployable (of all of them for an empty name) from a checkout into a directory."""
    options = ("--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", out)
    return run(*UV, "build", *options, checkout, cwd=out.parent, CORDON_DEPLOYABLE=deployable)


def environment(directory: Path) -> Path:
    """Makes an empty environment and returns its interpreter."""
    done = run(*UV, "venv", "--quiet", "--python", sys.executable, directory, cwd=directory.parent)
    assert done.returncode == 0, done.stderr
    return directory / "bin" / "python"


def install_wheel(python: Path, wheel: Path) -> None:
    """Installs a wheel without what it depends on."""
    done = run(*UV, "pip", "install", "--offline", "--no-deps", "--python", python, wheel, cwd=wheel.parent)
    assert done.returncode == 0, done.stderr


def install_lock(python: Path, name: str) -> None:
    """Makes an environment hold exactly what a lock names, from uv's cache or the package index.

    Skips where neither has it; in CI that is a failure.
    """
    sync = (*UV, "pip", "sync", "--require-hashes", "--only-binary", ":all:", "--python", python, LOCKS / f"{name}.txt")
    done = run(*sync, "--offline", cwd=python.parent)
    if done.returncode != 0:
        done = run(*sync, cwd=python.parent)
    if done.returncode != 0 and is_unreachable(done.stderr) and not os.environ.get("CI"):
        pytest.skip(f"the packages of the {name} lock are not cached here and the package index cannot be reached")
    assert done.returncode == 0, done.stderr


def is_unreachable(complaint: str) -> bool:
    """Whether uv complains of the network: a wrong hash or a missing version is never that."""
    return any(sign in complaint.lower() for sign in UNREACHABLE) and "hash mismatch" not in complaint.lower()


def in_environment(python: Path, code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs code with ``-I`` from a foreign directory: a flat layout otherwise imports from the checkout."""
    return run(python, "-I", "-c", code, cwd=cwd)


def names_in(wheel: Path) -> list[str]:
    """Every file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def modules_in(wheel: Path) -> list[str]:
    """The modules of a wheel that can be imported: all but those that do something when they are."""
    paths = [Path(name) for name in names_in(wheel) if name.endswith(".py")]
    running = [path for path in paths if path.name == "__main__.py" or path.parts[1:] == ("migrations", "env.py")]
    kept = [path.with_suffix("") for path in paths if path not in running]
    return sorted({".".join(path.parts).removesuffix(".__init__") for path in kept})
