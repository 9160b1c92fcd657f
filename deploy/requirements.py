"""Prints the requirements of the named deployables and dependency groups, one a line, from pyproject.toml."""

import sys
import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))


def group(name: str) -> list[str]:
    """A dependency group's requirements, with the groups it includes (PEP 735)."""
    found: list[str] = []
    for entry in PYPROJECT["dependency-groups"][name]:
        found += group(entry["include-group"]) if isinstance(entry, dict) else [entry]
    return found


def requirements(name: str) -> list[str]:
    """The requirements of a deployable (``zone``), of one of its extras (``zone:vault``) or of a group. Raises KeyError."""
    deployables: dict[str, Any] = PYPROJECT["tool"]["cordon"]["deployables"]
    deployable, _, extra = name.partition(":")
    if extra:
        return list(deployables[deployable]["extras"][extra])
    return list(deployables[name]["dependencies"]) if name in deployables else group(name)


if __name__ == "__main__":
    sys.stdout.write("\n".join(sorted({line for name in sys.argv[1:] for line in requirements(name)})) + "\n")
