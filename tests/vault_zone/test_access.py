"""Every endpoint of the internal API × every identity: who is not in the table gets no further than the refusal."""

import datetime
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from sqlalchemy import select

from audit.store import audit_event
from tests.requirement import requirement
from tests.vault_zone.forward.world import forward_request
from tests.vault_zone.world import MERCHANT, World, capture_request, charge_request, zone_world
from tokenization.edge import App, Receive, Scope, Send
from vault_zone.access import PERMISSIONS, Verb, require, service_of
from vault_zone.app import internal_app
from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.forward.allowlist import SignedList
from vault_zone.forward.engine import ForwardEngine
from vault_zone.forward.sending import Sender
from vault_zone.hazmat.pki import create_authority, issue_identity
from vault_zone.runtime import Zone
from vault_zone.settings import ZoneSettings
from vault_zone.tally import Tally

pytestmark = pytest.mark.anyio
NOW = datetime.datetime.now(datetime.UTC)  # certificates are checked against the real clock
CALLS: dict[tuple[str, str], tuple[Verb, dict[str, Any] | None]] = {
    ("POST", "/v1/capture-sessions"): (Verb.OPEN_CAPTURE, capture_request().model_dump(mode="json")),
    ("GET", f"/v1/merchants/{MERCHANT}/capture-sessions/cap_x"): (Verb.READ_CAPTURE, None),
    ("POST", "/v1/charges"): (Verb.CHARGE, charge_request("grt_x").model_dump(mode="json")),
    ("GET", f"/v1/merchants/{MERCHANT}/charges/pay_x"): (Verb.READ_CHARGE, None),
    ("POST", "/v1/forwards"): (Verb.FORWARD, forward_request("grt_x").model_dump(mode="json")),
    ("GET", f"/v1/merchants/{MERCHANT}/forwards/idk_x"): (Verb.READ_FORWARD, None),
    ("GET", "/v1/health"): (Verb.READ_HEALTH, None),
    ("GET", f"/v1/merchants/{MERCHANT}/keys"): (Verb.LIST_KEYS, None),
    ("POST", f"/v1/merchants/{MERCHANT}/keys/rotate"): (Verb.ROTATE_KEY, {"purpose": "sealing"}),
    ("POST", f"/v1/merchants/{MERCHANT}/keys/key_x/retire"): (Verb.RETIRE_KEY, None),
    ("POST", f"/v1/merchants/{MERCHANT}/keys/key_x/destroy"): (Verb.RETIRE_KEY, None),
    ("POST", f"/v1/merchants/{MERCHANT}/rekeyings"): (Verb.REKEY, None),
    ("GET", f"/v1/merchants/{MERCHANT}/rekeyings/rky_x"): (Verb.REKEY, None),
}


def forward_engine(world: World, directory: Path = Path("nowhere")) -> ForwardEngine:
    """Forwards through the list in a directory; where there is none, nowhere."""
    return ForwardEngine(
        world.database,
        world.keys,
        world.codes,
        SignedList(directory),
        Sender(directory, only_public=False),
        clock=world.clock,
        log_is_writable=lambda: world.log_writable[0],
    )


class FakeSequencer:
    """A log that can be written."""

    def is_writable(self) -> bool:
        return True


def zone_of(world: World, settings: ZoneSettings | None = None) -> Zone:
    """The running zone that the endpoints see."""
    settings = settings or ZoneSettings(
        data=Path(),
        environment="development",
        database_url=world.database.url,
        capture_host="127.0.0.1",
        capture_port=8701,
        capture_url="http://127.0.0.1:8701",
        internal_host="127.0.0.1",
        internal_port=8702,
        processor_url="http://127.0.0.1:8703",
        charge_timeout_seconds=10,
    )
    return Zone(
        settings,
        world.clock,
        world.database,
        world.keys,
        world.codes,
        world.processor,
        cast(Any, FakeSequencer()),
        world.engine,
        forward_engine(world),
        Tally(world.clock),
    )


def as_peer(app: App, service: str | None) -> App:
    """The app as it is called on a connection that presented this service's certificate."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {"cordon.peer": service}}, receive, send)

    return called


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    """A zone on either database."""
    async with zone_world(database_url) as made:
        yield made


async def asked(world: World, service: str | None, method: str, path: str, body: object = None) -> httpx.Response:
    transport = httpx.ASGITransport(app=cast(Any, as_peer(internal_app(zone_of(world)), service)))
    async with httpx.AsyncClient(transport=transport, base_url="https://zone") as client:
        return await client.request(method, path, json=body)


@requirement("7.3.3", "10.2.1.4")
@pytest.mark.parametrize("service", [None, "", "stranger", "Commerce", *PERMISSIONS])
@pytest.mark.parametrize("call", CALLS)
async def test_an_identity_may_do_what_its_row_says_and_nothing_else(
    world: World, service: str | None, call: tuple[str, str]
) -> None:
    verb, body = CALLS[call]
    answer = await asked(world, service, *call, body)
    allowed = service in PERMISSIONS and verb in PERMISSIONS[service or ""]
    assert (answer.status_code != 403) == allowed
    recorded = await world.database.read(lambda c: c.execute(select(audit_event.c.type)).scalars().all())
    assert ("access.refused" in recorded) != allowed
    if not allowed:
        assert answer.json()["error"]["code"] == "caller_unknown"


async def test_the_matrix_walks_every_route_there_is(world: World) -> None:
    paths = (await asked(world, "commerce", "GET", "/openapi.json")).json()["paths"]
    found = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    walked = {
        (
            method,
            path.replace(MERCHANT, "{merchant}")
            .replace("cap_x", "{session}")
            .replace("pay_x", "{payment}")
            .replace("idk_x", "{idempotency_key}")
            .replace("key_x", "{key}")
            .replace("rky_x", "{run}"),
        )
        for method, path in CALLS
    }
    assert found == walked
    assert {verb for verb, _ in CALLS.values()} == set(Verb)


@requirement("3.4.1", "7.2.6")
async def test_no_answer_of_the_api_has_a_field_for_a_card_number(world: World) -> None:
    schema = (await asked(world, "commerce", "GET", "/openapi.json")).text.lower()
    assert not [word for word in ('"number"', '"pan"', '"cvc"', '"cvv"', '"card_number"') if word in schema]


async def test_card_like_text_is_refused_at_the_zones_inner_door_too(world: World) -> None:
    body = {**capture_request().model_dump(mode="json"), "merchant_name": "4242 4242 4242 4242"}
    answer = await asked(world, "commerce", "POST", "/v1/capture-sessions", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "card_text_refused")
    assert "4242" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        {"merchant": ["378282246310005"]},
        {"378282246310005": 1},
        {"amount_minor": "one"},
        {},
        [],
    ],
)
async def test_a_malformed_request_is_answered_without_its_values(world: World, body: object) -> None:
    answer = await asked(world, "commerce", "POST", "/v1/charges", body)
    assert answer.status_code == 422
    assert "378282246310005" not in answer.text
    assert set(answer.json()) <= {"error", "broken"}


async def test_a_return_address_that_is_not_safe_is_refused(world: World) -> None:
    for address in ("http://shop.example/back", "https://user@shop.example/"):
        body = {**capture_request().model_dump(mode="json"), "return_url": address}
        assert (await asked(world, "commerce", "POST", "/v1/capture-sessions", body)).status_code == 422


def test_the_service_is_the_one_uri_of_a_certificate() -> None:
    mine = ("URI", "urn:cordon:service:commerce")
    assert service_of({"subjectAltName": (mine, ("DNS", "localhost"))}) == "commerce"
    assert service_of({"subjectAltName": (mine, ("URI", "urn:cordon:service:monitor"))}) is None
    assert service_of({"subjectAltName": (("DNS", "commerce"),), "subject": ((("commonName", "commerce"),),)}) is None
    assert service_of({}) is None
    assert service_of(None) is None


def test_a_verb_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(ZoneRefusal) as refused:
        require("monitor", Verb.CHARGE)
    assert refused.value.kind is ZoneError.CALLER_UNKNOWN


@requirement("4.2.1")
def test_the_handshake_takes_certificates_of_the_zones_authority_only(tmp_path: Path) -> None:
    """A real TLS 1.3 listener with the zone's context: no certificate, a foreign one, and the right one."""
    create_authority(tmp_path / "ca", NOW)
    issue_identity(tmp_path / "ca", tmp_path / "zone", "zone", NOW, hosts=("127.0.0.1",))
    issue_identity(tmp_path / "ca", tmp_path / "mine", "commerce", NOW)
    create_authority(tmp_path / "other", NOW)
    issue_identity(tmp_path / "other", tmp_path / "foreign", "commerce", NOW)
    assert handshake(tmp_path, tmp_path / "mine" / "commerce") == "commerce"
    assert handshake(tmp_path, tmp_path / "foreign" / "commerce") == "refused"
    assert handshake(tmp_path, None) == "refused"


def handshake(directory: Path, client: Path | None) -> str:
    """Both ends of a handshake in memory; what the server makes of the client."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(directory / "zone" / "ca.crt"))
    server.load_cert_chain(directory / "zone" / "zone.crt", directory / "zone" / "zone.key")
    server.verify_mode = ssl.CERT_REQUIRED
    server.minimum_version = ssl.TLSVersion.TLSv1_3
    speaker = ssl.create_default_context(cafile=str(directory / "zone" / "ca.crt"))
    if client is not None:
        speaker.load_cert_chain(client.with_suffix(".crt"), client.with_suffix(".key"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server.wrap_bio(to_server, to_client, server_side=True)
    client_side = speaker.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    try:
        for _ in range(4):
            for end in (client_side, server_side):
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except ssl.SSLError:
        return "refused"
    return service_of(cast(Any, server_side.getpeercert())) or "unnamed"


def test_key_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "vault_zone", "init", "--data", str(tmp_path / "zone")], check=True, capture_output=True
    )
    secret = list((tmp_path / "zone").rglob("*.key"))
    assert len(secret) >= 6
    assert [path for path in secret if path.stat().st_mode & 0o077] == []
