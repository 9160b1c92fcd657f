"""One repository, one pyproject.toml, one wheel per deployable.

    CORDON_DEPLOYABLE=zone python -m build --wheel   ->  cordon-0.1.0+zone-py3-none-any.whl
    pip install -e .                                 ->  every package, editable, for developers

[tool.cordon.deployables] in pyproject.toml says which packages, dependencies and programs each wheel holds.
Files ship by suffix, so a stray .env or key file in a package never does.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

BASE_VERSION = "0.1.0"
SHIPPED_SUFFIXES = {".py", ".typed", ".html", ".css", ".js", ".mako", ".json", ".md", ".svg", ".csv"}
FILES_DATED = "1580601600"  # seconds since 1970: the date of every file in a wheel, hatchling's own choice
DEPLOYABLE = os.environ.get("CORDON_DEPLOYABLE", "")


def version() -> str:
    """The wheel's version: the deployable's name is its local part, so that two wheels are never confused."""
    return f"{BASE_VERSION}+{DEPLOYABLE}" if DEPLOYABLE else BASE_VERSION


def chosen(root: str) -> list[dict[str, Any]]:
    """The deployables to build: the one CORDON_DEPLOYABLE names, or all. Raises KeyError for an unknown name."""
    pyproject = tomllib.loads((Path(root) / "pyproject.toml").read_text(encoding="utf-8"))
    deployables: dict[str, dict[str, Any]] = pyproject["tool"]["cordon"]["deployables"]
    return [deployables[DEPLOYABLE]] if DEPLOYABLE else list(deployables.values())


class DeployableHook(BuildHookInterface[Any]):
    """Puts the chosen packages, and nothing else, into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        os.environ["SOURCE_DATE_EPOCH"] = FILES_DATED  # whatever the builder's says: one checkout, one wheel
        root = Path(self.root)
        for package in sorted({name for deployable in chosen(self.root) for name in deployable["packages"]}):
            for path in sorted((root / package).rglob("*")):
                if path.suffix in SHIPPED_SUFFIXES:
                    build_data["force_include"][str(path)] = str(path.relative_to(root))


class DeployableMetadata(MetadataHookInterface):
    """Names the chosen deployables' dependencies and programs, so a zone wheel asks for no model SDK."""

    def update(self, metadata: dict[str, Any]) -> None:
        metadata["dependencies"] = sorted({d for deployable in chosen(self.root) for d in deployable["dependencies"]})
        extras = [deployable.get("extras", {}) for deployable in chosen(self.root)]
        metadata["optional-dependencies"] = {name: needs for each in extras for name, needs in each.items()}
        metadata["scripts"] = {k: v for deployable in chosen(self.root) for k, v in deployable["scripts"].items()}
