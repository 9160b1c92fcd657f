"""OAuth programs of others against the embedded server: panva's openid-client, and the conformance suite's own scenarios."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from commerce_api.authorization import protocol
from commerce_api.authorization.client_documents import ClientDocuments
from tests.commerce_api.authorization.test_client_documents import hosting
from tests.mcp_server.conformance.suite import CONFORMANCE, NODE, TOOLS, checks_of, failed, needs_tools
from tests.mcp_server.oauth_site import CALLBACK, OAuthSite, browser, free_port, register

pytestmark = [pytest.mark.anyio, needs_tools]
PROGRAM = Path(__file__).parent / "foreign" / "signing_in.mjs"
PROGRAM_SECONDS = 100
SCENARIOS = 2  # that the suite has for authorization servers


@asynccontextmanager
async def started(*arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of Node's with its input and output, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        str(NODE),
        *map(str, arguments),
        env={"PATH": "/usr/bin:/bin", "NO_COLOR": "1", "NO_PROXY": "127.0.0.1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PROGRAM_SECONDS):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def signed_in(flow: OAuthSite, address: str) -> str:
    """Where a shopper's browser comes out who lets the program in."""
    async with browser(flow) as shopper:
        await shopper.open(address)
        await shopper.sign_in()
        answer = await shopper.send("decision", decision="allow")
    location: str = answer.headers["location"]
    return location


async def get(address: str) -> None:
    """Goes where the browser would."""
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        await http.get(address)


async def told_by_openid_client(
    flow: OAuthSite, client_id: str = "", redirect_uri: str = CALLBACK
) -> list[dict[str, Any]]:
    """What the program said, with its shopper at hand."""
    told: list[dict[str, Any]] = []
    async with started(PROGRAM, flow.resource, client_id, redirect_uri, TOOLS) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        while line := await program.stdout.readline():
            told.append(json.loads(line))
            if address := told[-1].get("open"):
                program.stdin.write((await signed_in(flow, address) + "\n").encode())
                await program.stdin.drain()
        errors = (await program.stderr.read()).decode()
        assert await program.wait() == 0, errors
    return [each for each in told if "open" not in each]


def as_expected(told: list[dict[str, Any]]) -> None:
    """The way from the first refusal to the last."""
    calls = [(each["tool"], each["status"], each["isError"]) for each in told if "tool" in each]
    assert calls == [
        ("get_saved_payment_methods", 401, None),
        ("create_checkout", 200, False),
        ("get_saved_payment_methods", 403, None),
        ("get_saved_payment_methods", 200, False),
        ("update_checkout", 200, False),
        ("get_checkout", 401, None),
    ]
    challenges = [each["challenge"] for each in told if each.get("challenge")]
    assert [(challenge.get("error"), challenge["scope"]) for challenge in challenges[:2]] == [
        (None, "payment_methods:read"),
        ("insufficient_scope", "payment_methods:read"),
    ]
    assert challenges[2]["error"] == "invalid_token"
    assert [each["granted"] for each in told if "granted" in each] == [
        "catalog:read checkout:write",
        "catalog:read checkout:write payment_methods:read",
    ]
    said = {
        name: value
        for each in told
        for name, value in each.items()
        if name in ("mixedUp", "rotated", "afterRevocation")
    }
    assert said == {"mixedUp": "OAUTH_INVALID_RESPONSE", "rotated": True, "afterRevocation": "invalid_grant"}


async def test_openid_client_registers_signs_in_steps_up_renews_and_revokes(flow: OAuthSite) -> None:
    told = await told_by_openid_client(flow)
    assert told[1]["issuer"] == flow.issuer
    assert told[1]["client"].startswith("acl_")
    as_expected(told)


async def test_openid_client_does_so_by_its_metadata_document(flow: OAuthSite) -> None:
    flow.desk._documents = ClientDocuments(flow.world.clock, loopback=True)
    async with hosting() as host:
        redirect_uri = "https://acorn.example/cb"
        host.says({"client_id": host.id, "client_name": "Acorn", "redirect_uris": [redirect_uri]})
        told = await told_by_openid_client(flow, host.id, redirect_uri)
    assert told[1]["client"] == host.id
    as_expected(told)


async def test_planted_fault_another_name_than_the_metadatas_in_the_answer_is_noticed(
    flow: OAuthSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol._Issuer, "get_issuer", lambda self: f"{flow.issuer}/")
    with pytest.raises(AssertionError, match='unexpected "iss"'):
        await told_by_openid_client(flow)


async def test_the_conformance_suites_scenarios_for_authorization_servers_pass(flow: OAuthSite, tmp_path: Path) -> None:
    """It waits at an address of its own for the shopper, whom it tells where to go."""
    port = free_port()
    client = (await register(flow, redirect_uris=[f"http://127.0.0.1:{port}/callback"])).json()["client_id"]
    out = tmp_path / "out"
    named = ("--url", flow.issuer, "--client-id", client, "--resource", flow.resource, "--port", port, "-o", out)
    async with started(CONFORMANCE, "authorization", *named) as suite:
        assert suite.stdout is not None
        while line := (await suite.stdout.readline()).decode():
            if line.startswith(f"{flow.issuer}/authorize"):
                shown = line.strip()
            if line.startswith("Callback server started"):
                await get(await signed_in(flow, shown))
        assert await suite.wait() == 0
    found = checks_of(out)
    assert len(found) == SCENARIOS
    assert [check for checks in found.values() for check in failed(checks)] == []
