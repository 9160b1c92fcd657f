"""MCP's own programs as subprocesses: the conformance suite and the Inspector's command line, from ``.venv/mcp-tools``.

``deploy/test-needs.sh`` puts them there from a lock with hashes. Where it could not, tests that want them are skipped, which in
CI is a failure (tests/no_skips.py).
"""

import asyncio
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TOOLS = Path(__file__).parents[3] / ".venv" / "mcp-tools"
NODE = TOOLS / "node" / "bin" / "node"
CONFORMANCE = TOOLS / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
INSPECTOR = (TOOLS / "node_modules" / ".bin" / "mcp-inspector").resolve()
TIMEOUT_SECONDS = 200
_LISTED = re.compile(r"^  - ([a-z0-9-]+)", re.MULTILINE)

needs_tools = pytest.mark.skipif(
    not (TOOLS / ".installed").is_file(), reason="MCP's conformance suite is not there: deploy/test-needs.sh brings it"
)


@dataclass(frozen=True)
class Finished:
    """A program that ended."""

    code: int
    out: str
    errors: str


async def node(script: Path, *arguments: str) -> Finished:
    """Runs a script under Node. No proxy, no colours, no home of anybody's."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(TOOLS), "NO_COLOR": "1", "NO_PROXY": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        NODE,
        script,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Finished(process.returncode or 0, out.decode(), errors.decode())


async def required(revision: str) -> set[str]:
    """The scenarios for servers that the suite itself requires for a protocol revision."""
    listed = (await node(CONFORMANCE, "list", "--requirements", revision)).out
    return set(_LISTED.findall(listed.partition("Server scenarios")[2].partition("Client scenarios")[0]))


def checks_of(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """What the suite checked, by scenario: each check has an ``id`` and a ``status``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(directory.glob("**/checks.json")):
        scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*$", "", path.parent.name)
        found.setdefault(scenario, []).extend(json.loads(path.read_text(encoding="utf-8")))
    return found


def failed(checks: list[dict[str, Any]]) -> list[str]:
    """The ids of the checks that failed."""
    return [check["id"] for check in checks if check["status"] == "FAILURE"]
