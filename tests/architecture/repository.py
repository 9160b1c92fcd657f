"""Where the repository's parts lie, and what its pyproject.toml and locks say."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "deploy" / "locks"
# Written out, not read from pyproject.toml: a package added to a wheel there must be added here too.
HOLDS = {
    "zone": ["vault_zone", "tokenization", "audit"],
    "commerce": ["commerce_api", "mcp_server", "offer_engine", "compliance_docs", "tokenization", "audit"],
    "auditor": ["audit", "compliance_docs", "tokenization"],
}
PACKAGES = sorted({package for packages in HOLDS.values() for package in packages})
UNSHIPPED = ["benchmarks", "examples", "tests"]  # packages of the checkout that no wheel holds
MODEL_SDKS = {
    *("anthropic", "openai", "google-genai", "google-generativeai", "google-cloud-aiplatform", "mistralai", "cohere"),
    *("litellm", "langchain", "langchain-core", "langgraph", "llama-index", "pydantic-ai", "pydantic-ai-slim"),
    *("mcp", "mcp-types", "fastmcp", "transformers", "torch", "onnxruntime", "tiktoken", "huggingface-hub"),
}


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the root, and its text."""

    path: str
    text: str


def pyproject() -> dict[str, Any]:
    """The repository's pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def deployables() -> dict[str, dict[str, Any]]:
    """[tool.cordon.deployables]: packages, dependencies and programs by deployable."""
    found: dict[str, dict[str, Any]] = pyproject()["tool"]["cordon"]["deployables"]
    return found


@cache
def sources(*packages: str) -> list[Source]:
    """Every Python file of the named top-level packages."""
    paths = (path for package in packages for path in sorted((ROOT / package).rglob("*.py")))
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def lock(name: str) -> str:
    """The text of a lock."""
    return (LOCKS / f"{name}.txt").read_text(encoding="utf-8")


def entries(lock_text: str) -> dict[str, str]:
    """Each requirement of a lock, markers included, by distribution name. Raises ValueError for a name that is there twice."""
    lines = re.findall(r"^([^\s#-][^\\\n]*)", lock_text, re.MULTILINE)
    names = [canonicalize_name(Requirement(line).name) for line in lines]
    if len(set(names)) != len(names):
        raise ValueError("a lock pins a distribution twice")
    return {name: line.strip() for name, line in zip(names, lines, strict=True)}


def distribution(requirement: str) -> str:
    """The distribution that a requirement names."""
    return canonicalize_name(Requirement(requirement).name)
