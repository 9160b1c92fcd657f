"""A character that PostgreSQL stores nowhere, wherever a stranger can put one: refused as what it is, on either database."""

from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from tests.commerce_api.world import commerce_world
from tests.mcp_server.oauth_site import CALLBACK, oauth_site, program

pytestmark = pytest.mark.anyio
NUL = "\0"


async def test_a_nul_is_unknown_or_wrong_and_no_failure_of_the_database(
    tmp_path: Path, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        commerce_world(tmp_path, database_url) as world,
        oauth_site(world) as flow,
        httpx.AsyncClient(trust_env=False, verify=False) as http,
    ):
        client = await program(flow)
        begun = await http.get(client.address(state=NUL))
        code = {"grant_type": "authorization_code", "client_id": NUL, "code": "x", "redirect_uri": CALLBACK}
        told = [await http.post(f"{flow.issuer}/{endpoint}", data=code) for endpoint in ("token", "revoke")]
        authorize = await http.get(f"{flow.issuer}/authorize?{urlencode({'client_id': NUL})}")
        brands = [await http.post(f"{flow.mcp.url}/%00/{endpoint}", content=b"{}") for endpoint in ("mcp", "a2a")]
        card = await http.get(f"{flow.mcp.url}/%00/.well-known/agent-card.json")
        server = await http.get(f"{flow.commerce_url}/.well-known/oauth-authorization-server/%00/oauth")
    assert (begun.status_code, begun.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert [(answer.status_code, answer.json()["error"]) for answer in told] == [(400, "invalid_client")] * 2
    assert (authorize.status_code, authorize.headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert [answer.status_code for answer in (*brands, card, server)] == [404] * 4
    assert "database_failed" not in caplog.text
