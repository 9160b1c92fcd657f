"""The official conformance suite on our stack, in both protocol eras: every scenario that it requires of a server passes.

The few that do not are listed here with the reason. A scenario also counts as failed when what it wants to call is not listed:
the suite lets some of them pass without it.
"""

from pathlib import Path
from typing import Any

import pytest

from mcp_server import app
from mcp_server.brand_server import BrandServer, make_brand_server
from mcp_server.scopes import Need
from tests.mcp_server.conformance import fixtures
from tests.mcp_server.conformance.suite import CONFORMANCE, checks_of, failed, needs_tools, node, required
from tests.mcp_server.serving import Site, body, post, result_of

pytestmark = [
    pytest.mark.anyio,
    needs_tools,
    # The suite has the server log and sample, which the protocol gave up; nothing of ours does.
    pytest.mark.filterwarnings("ignore::mcp.MCPDeprecationWarning"),
]

NO_WAY_BACK = (
    "The server would have to ask the client in the middle of a call, for which 2025-11-25 needs a session that one process "
    "holds. No process of ours holds sessions: any worker answers any call. 2026-07-28 has input_required results instead, "
    "and there the same questions pass (input-required-result-*)."
)
EXCEPTIONS: dict[str, dict[str, str]] = {
    "2026-07-28": {},
    "2025-11-25": {
        "tools-call-sampling": NO_WAY_BACK,
        "tools-call-elicitation": NO_WAY_BACK,
        "elicitation-sep1034-defaults": NO_WAY_BACK,
        "elicitation-sep1330-enums": NO_WAY_BACK,
    },
}
# What the suite requires of a server, by its own count for each frozen set.
COUNTS = {"2026-07-28": 37, "2025-11-25": 30}
BEYOND = ["http-header-validation", "http-custom-header-server-validation"]


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> list[BrandServer]:
    """Every brand's server holds what the suite calls, beside its own tools; the servers made so far."""
    made: list[BrandServer] = []
    make = make_brand_server

    def with_fixtures(*arguments: Any) -> BrandServer:
        made.append(make(*arguments))
        fixtures.mount(made[-1])
        return made[-1]

    monkeypatch.setattr(app, "make_brand_server", with_fixtures)
    monkeypatch.setattr("mcp_server.brand_server.need_of", lambda *_: Need(frozenset(), guests=True))
    monkeypatch.setattr(
        "mcp_server.brand_server.serve_tools_and_views", lambda server: None
    )  # the suite wants prompts too
    return made


async def failures(site: Site, directory: Path, *arguments: str) -> dict[str, list[str]]:
    """Runs scenarios; the ids of the failed checks of each."""
    await node(CONFORMANCE, "server", "--url", site.endpoint(), "-o", str(directory), *arguments)
    return {scenario: failed(checks) for scenario, checks in checks_of(directory).items()}


@pytest.mark.parametrize("revision", COUNTS)
async def test_every_required_scenario_passes_or_has_its_reason(
    mounted: Any, own_site: Site, tmp_path: Path, revision: str
) -> None:
    wanted = await required(revision)
    found = await failures(own_site, tmp_path / "out", "--requirements", revision)
    assert len(wanted) == COUNTS[revision]
    assert wanted <= found.keys(), "a required scenario did not run"
    assert {scenario for scenario in wanted if found[scenario]} == EXCEPTIONS[revision].keys()


async def test_headers_are_held_against_the_body(mounted: Any, own_site: Site, tmp_path: Path) -> None:
    """Scenarios that the suite runs without requiring them yet."""
    for scenario in BEYOND:
        out = tmp_path / scenario
        found = await failures(own_site, out, "--scenario", scenario, "--spec-version", "2026-07-28")
        assert found == {scenario: []}


async def test_what_the_scenarios_call_is_there(mounted: Any, own_site: Site) -> None:
    """Some of them pass where it is not."""
    listed = result_of(await post(own_site.endpoint(), body("tools/list")))["result"]["tools"]
    names = {tool["name"] for tool in listed}
    assert {
        "test_simple_text",
        "test_error_handling",
        "test_input_required_result_elicitation",
        "search_catalog",
    } <= names
    for method, kind in (("resources/list", "resources"), ("prompts/list", "prompts")):
        assert result_of(await post(own_site.endpoint(), body(method)))["result"][kind]


FAULTS = {
    "tools-call-with-progress": ("answers without a stream", "json_response"),
    "dns-rebinding-protection": ("a door open to every host", "transport_security"),
    "tools-call-simple-text": ("no fixtures", "mount"),
}


@pytest.mark.parametrize("scenario", FAULTS)
async def test_planted_fault_the_suite_notices(
    mounted: Any, own_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    serve = BrandServer.streamable_http_app

    def faulty(self: BrandServer, **settings: Any) -> Any:
        if scenario == "tools-call-with-progress":
            settings["json_response"] = True
        if scenario == "dns-rebinding-protection":
            settings["transport_security"].enable_dns_rebinding_protection = False
        if scenario == "tools-call-simple-text":
            self._tool_manager.remove_tool("test_simple_text")
        return serve(self, **settings)

    monkeypatch.setattr(BrandServer, "streamable_http_app", faulty)
    found = await failures(own_site, tmp_path / "out", "--scenario", scenario, "--spec-version", "2026-07-28")
    assert found[scenario]
