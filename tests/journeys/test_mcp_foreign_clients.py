"""Three clients that are not ours buy: the official ones in Python and TypeScript, and an agent of Pydantic AI.

Each is a program (tests/journeys/foreign), started as ``PROGRAM URL ERA WISHES``, a guest who speaks to three workers and
closes the connection after each answer. It tells in lines of JSON: ``protocol``; ``pay``, the address at which the shopper is
to pay while it waits; what it compared, made and bought; and for each call that is to be refused, as what it saw the refusal.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.commerce_api.purchases import ready
from tests.journeys.mcp_workers import Served, served
from tests.journeys.running import ROOT, Running, add_store, running_stack
from tests.mcp_server.conformance.suite import NODE, TOOLS, needs_tools

PROGRAMS = ROOT / "tests" / "journeys" / "foreign"
FRAMEWORK = ROOT / ".venv" / "agent-framework"
needs_framework = pytest.mark.skipif(
    not (FRAMEWORK / ".installed").is_file(), reason="no agent framework is there: deploy/test-needs.sh brings it"
)
PROGRAM_SECONDS = 120
DELIVERY = {name: value for name, value in ready().items() if name != "lines"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "get_order": ({"order_id": "ord_none"}, "order_unknown"),
    "create_checkout": ({"lines": [{"variant_id": "hp-none", "quantity": 1}]}, "product_unknown"),
    "search_catalog": ({"query": "4242 4242 4242 4242"}, "card_text_refused"),
}
WISHES = {
    "query": "stoneware",
    "delivery": DELIVERY,
    "refused": [(tool, arguments) for tool, (arguments, _) in REFUSED.items()],
}
CLIENTS: dict[str, tuple[Sequence[object], Sequence[object]]] = {
    "python": ([sys.executable, PROGRAMS / "official.py"], []),
    "typescript": ([NODE, PROGRAMS / "official.mjs"], [TOOLS]),
    "pydantic-ai": ([FRAMEWORK / "bin" / "python", PROGRAMS / "agent.py"], []),
}
ERAS = ["2026-07-28", "2025-11-25"]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = tmp_path_factory.mktemp("stack")
    add_store(data)
    with running_stack(data) as running:
        yield running


@pytest.fixture(scope="module")
def workers(stack: Running) -> Iterator[Served]:
    with served(stack, workers=3) as running:
        yield running


def shop(stack: Running, workers: Served, name: str, era: str) -> list[dict[str, Any]]:
    """Lets a client buy, and its shopper pay when it says so. What it told."""
    before, after = CLIENTS[name]
    command = [str(part) for part in (*before, workers.url, era, json.dumps(WISHES), *after)]
    told: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        for line in program.stdout:
            told.append(json.loads(line))
            if "pay" in told[-1]:
                assert stack.pay({"continue_url": told[-1]["pay"]})
        errors = program.stderr.read()
        assert program.wait(PROGRAM_SECONDS) == 0, errors
    return told


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "name",
    [
        "python",
        pytest.param("typescript", marks=needs_tools),
        pytest.param("pydantic-ai", marks=needs_framework),
    ],
)
def test_a_client_that_is_not_ours_buys_and_sees_refusals_as_such(
    stack: Running, workers: Served, name: str, era: str
) -> None:
    before = len(stack.charges())
    protocol, _, bought, *refusals = shop(stack, workers, name, era)
    assert protocol == {"protocol": era}
    assert len(set(bought["compared"])) == 2
    assert len(set(bought["made"])) == 1  # the same key is the same checkout, whichever worker answers
    order = bought["order"]
    assert order["totals"]["total"] == bought["confirmed"]
    assert order["paid_with"]["last4"] == "4242"
    assert len(stack.charges()) == before + 1
    assert refusals == [{"tool": tool, "refused": True, "code": code} for tool, (_, code) in REFUSED.items()]
