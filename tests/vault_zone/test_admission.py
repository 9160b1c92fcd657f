"""Who comes in, over real TLS: forged, foreign, ended and revoked certificates; and files that change while the zone runs."""

import asyncio
import datetime
import json
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from sqlalchemy import select

from audit.store import audit_event
from commerce_api.vault_client import LOOK_SECONDS, VaultClient, VaultRefused, VaultUnavailable
from tests.requirement import requirement
from tests.vault_zone.authority import issue_to, make_zone_files, now, zone_over
from tests.vault_zone.listening import listening
from tests.vault_zone.world import MERCHANT, World, zone_world
from vault_zone.access_file import read_access, write_access
from vault_zone.admission import Admission, AdmissionRefused, read_admitted
from vault_zone.app import internal_app
from vault_zone.cli import main
from vault_zone.cli.refused import CommandRefused
from vault_zone.cli.zone_client import ZoneClient
from vault_zone.hazmat.pki import create_authority, open_authority, read_certificate
from vault_zone.hazmat.revocation import read_revocations, write_revocations
from vault_zone.identity import Identity
from vault_zone.runtime import Zone
from vault_zone.serve import internal_config

pytestmark = pytest.mark.anyio
HOUR = datetime.timedelta(hours=1)
REFUSED = "refused in the handshake"
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def forge(  # every field of a certificate, as a test wants it
    authority: Path,
    out: Path,
    *,
    uris: tuple[str, ...] = ("urn:cordon:service:commerce",),
    common_name: str = "commerce",
    begins: datetime.timedelta = -HOUR,
    ends: datetime.timedelta = HOUR,
    purpose: x509.ObjectIdentifier = CLIENT,
) -> Path:
    """A certificate that the authority signs, whatever it says."""
    ca_key, ca = open_authority(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() + begins)
        .not_valid_after(now() + ends)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if uris:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
        builder = builder.add_extension(names, critical=False)
    out.mkdir(exist_ok=True)
    pem = serialization.Encoding.PEM
    (out / "me.crt").write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    (out / "me.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return out / "me"


@asynccontextmanager
async def running(data: Path, world: World) -> AsyncIterator[tuple[Zone, str]]:
    """The internal listener of a zone over these files, and its address."""
    zone = zone_over(world, data)
    config = internal_config(internal_app(zone), zone.settings, zone.access)
    async with listening(config) as listener:
        yield zone, f"https://127.0.0.1:{listener.port}"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A zone; which database it has plays no part in a handshake."""
    async with zone_world(f"sqlite:///{tmp_path / 'zone.sqlite3'}") as made:
        yield made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A zone's files with an authority."""
    make_zone_files(tmp_path)
    return tmp_path


def client(data: Path, identity: Path | None, **options: Any) -> httpx.AsyncClient:
    """A client that presents the identity's certificate."""
    context = ssl.create_default_context(cafile=str(data / "tls" / "ca.crt"))
    context.maximum_version = options.get("maximum", ssl.TLSVersion.MAXIMUM_SUPPORTED)
    if identity is not None:
        context.load_cert_chain(identity.with_suffix(".crt"), identity.with_suffix(".key"))
    return httpx.AsyncClient(base_url=options["url"], verify=context, trust_env=False, timeout=10)


async def health(data: Path, url: str, identity: Path | None, **options: Any) -> int | str:
    """What a fresh connection with this certificate gets for its health."""
    async with client(data, identity, url=url, **options) as speaker:
        try:
            return (await speaker.get("/v1/health")).status_code
        except httpx.TransportError:
            return REFUSED


async def events(world: World, kind: str) -> list[dict[str, Any]]:
    """The entries of one type."""
    rows = await world.database.read(lambda c: c.execute(select(audit_event.c.entry)).scalars().all())
    return [entry for entry in map(json.loads, rows) if entry["type"] == kind]


@requirement("4.2.1", "8.6.1", "8.2.1")
async def test_a_certificate_is_taken_only_if_everything_about_it_is_right(data: Path, world: World) -> None:
    issue_to(data, "commerce")
    issue_to(data, "operator:auditor")
    create_authority(data / "other", now())
    ca = data / "authority"
    attacks: dict[str, tuple[Path | None, int | str]] = {
        "none at all": (None, REFUSED),
        "another authority's": (forge(data / "other", data / "a"), REFUSED),
        "ended": (forge(ca, data / "b", ends=-HOUR / 2), REFUSED),
        "not yet begun": (forge(ca, data / "c", begins=HOUR / 2), REFUSED),
        "a listener's": (forge(ca, data / "d", purpose=SERVER), REFUSED),
        "the zone's own": (data / "tls" / "zone", REFUSED),
        "two URIs": (forge(ca, data / "e", uris=("urn:cordon:service:commerce", "urn:cordon:service:monitor")), 403),
        "the right name in the wrong place": (forge(ca, data / "f", uris=()), 403),
        "a foreign URI": (forge(ca, data / "g", uris=("urn:other:service:commerce",)), 403),
        "an operator of a service's name": (forge(ca, data / "h", uris=("urn:cordon:operator:commerce",)), 403),
        "a name that nobody entered": (forge(ca, data / "i", uris=("urn:cordon:service:stranger",)), 403),
        "the one": (data / "commerce" / "commerce", 200),
        "an operator's": (data / "auditor" / "auditor", 200),
    }
    async with running(data, world) as (_, url):
        assert {name: await health(data, url, identity) for name, (identity, _) in attacks.items()} == {
            name: expected for name, (_, expected) in attacks.items()
        }


@requirement("4.2.1")
async def test_nothing_older_than_tls_1_3_is_spoken(data: Path, world: World) -> None:
    issue_to(data, "commerce")
    mine = data / "commerce" / "commerce"
    async with running(data, world) as (_, url):
        assert await health(data, url, mine, maximum=ssl.TLSVersion.TLSv1_2) == REFUSED
        assert await health(data, url, mine, maximum=ssl.TLSVersion.TLSv1_3) == 200


@requirement("8.6.3", "8.2.5")
async def test_a_revoked_identity_is_refused_in_new_handshakes_and_on_its_open_connection(
    data: Path, world: World
) -> None:
    issue_to(data, "commerce")
    issue_to(data, "monitor")
    mine = data / "commerce" / "commerce"
    async with running(data, world) as (zone, url), client(data, mine, url=url) as kept:
        assert (await kept.get("/v1/health")).status_code == 200
        assert main(["access", "revoke", "commerce", "--data", str(data)]) == 0
        assert await zone.access.look(world.database, world.clock)
        assert (await kept.get("/v1/health")).status_code == 403
        assert await health(data, url, mine) == REFUSED
        assert await health(data, url, data / "monitor" / "monitor") == 200
    assert [entry["resource"] for entry in await events(world, "identity.revoked")] == ["service:commerce"]


async def test_a_command_with_a_revoked_certificate_is_told_that_and_not_that_nobody_answers(
    data: Path, world: World
) -> None:
    issue_to(data, "operator:auditor")
    async with running(data, world) as (zone, url):

        def listed() -> Any:
            with ZoneClient(url, data / "auditor" / "auditor") as speaker:
                return speaker.call("GET", "/v1/operations")

        assert await asyncio.to_thread(listed) == {"operations": []}
        assert main(["access", "revoke", "operator:auditor", "--data", str(data)]) == 0
        await zone.access.look(world.database, world.clock)
        with pytest.raises(CommandRefused, match="it has ended, was revoked"):
            await asyncio.to_thread(listed)


@requirement("8.6.3")
async def test_the_list_alone_keeps_a_certificate_out_of_the_handshake(data: Path, world: World) -> None:
    issued = issue_to(data, "commerce")
    write_revocations(data / "authority", data / "tls" / "ca.crl", {issued.serial: now()}, now())
    async with running(data, world) as (_, url):
        assert await health(data, url, data / "commerce" / "commerce") == REFUSED


@requirement("7.2.5", "10.2.1.5", "8.2.5")
async def test_a_permission_taken_away_bites_on_an_open_connection(data: Path, world: World) -> None:
    issue_to(data, "commerce")
    there = f"/v1/merchants/{MERCHANT}/charges/pay_x"
    async with running(data, world) as (zone, url), client(data, data / "commerce" / "commerce", url=url) as kept:
        assert (await kept.get(there)).status_code == 404
        assert main(["access", "allow", "commerce", "--merchant", "another", "--data", str(data)]) == 0
        assert (await kept.get(there)).status_code == 404  # until the files are looked at
        assert await zone.access.look(world.database, world.clock)
        assert (await kept.get(there)).status_code == 403
    changed = await events(world, "access.changed")
    assert [(entry["resource"], entry["data"]["role"]) for entry in changed] == [
        ("service:commerce", "commerce"),
        ("service:zone", "none"),
    ]


@requirement("4.2.1")
async def test_a_renewed_certificate_is_shown_to_new_connections_and_open_ones_go_on(data: Path, world: World) -> None:
    issue_to(data, "commerce")
    mine = data / "commerce" / "commerce"
    before = read_certificate(data / "tls" / "zone.crt").serial
    async with running(data, world) as (zone, url), client(data, mine, url=url) as kept:
        assert (await kept.get("/v1/health")).status_code == 200
        assert await shown(data, url, mine) == before
        assert main(["identity", "renew", "zone", "--data", str(data), "--hours", "48"]) == 0
        assert await zone.access.look(world.database, world.clock)
        assert await shown(data, url, mine) == read_certificate(data / "tls" / "zone.crt").serial != before
        answer = await kept.get("/v1/health")
        assert answer.status_code == 200
        assert 47 * 3600 < answer.json()["certificate_seconds"] <= 48 * 3600


async def shown(data: Path, url: str, identity: Path) -> str:
    """The serial of the certificate that the listener shows a fresh connection."""
    async with client(data, identity, url=url) as speaker, speaker.stream("GET", "/v1/health") as answer:
        connection = answer.extensions["network_stream"].get_extra_info("ssl_object")
        serial: str = connection.getpeercert()["serialNumber"]
        return serial


def _no_json(tls: Path) -> None:
    (tls / "access.json").write_text("{", encoding="utf-8")


def _open_to_all(tls: Path) -> None:
    (tls / "access.json").chmod(0o644)


def _unknown_role(tls: Path) -> None:
    access = read_access(tls / "access.json")
    identity = Identity.parse("commerce")
    entry = access.entry(identity).model_copy(update={"role": "everything"})
    write_access(tls / "access.json", access.with_entry(identity, entry))


def _operator_role(tls: Path) -> None:
    access = read_access(tls / "access.json")
    identity = Identity.parse("commerce")
    entry = access.entry(identity).model_copy(update={"role": "key_manager"})
    write_access(tls / "access.json", access.with_entry(identity, entry))


def _no_list(tls: Path) -> None:
    (tls / "ca.crl").unlink()


def _list_of_another(tls: Path) -> None:
    create_authority(tls.parent / "other", now())
    write_revocations(tls.parent / "other", tls / "ca.crl", {}, now())


def _ended_list(tls: Path) -> None:
    write_revocations(tls.parent / "authority", tls / "ca.crl", {}, now() - datetime.timedelta(days=100))


def _another_key(tls: Path) -> None:
    issue_to(tls.parent, "monitor")
    (tls / "zone.key").write_bytes((tls.parent / "monitor" / "monitor.key").read_bytes())


def _ended_certificate(tls: Path) -> None:
    forged = forge(
        tls.parent / "authority",
        tls.parent / "x",
        uris=("urn:cordon:service:zone",),
        ends=-HOUR / 2,
        purpose=SERVER,
    )
    (tls / "zone.crt").write_bytes(forged.with_suffix(".crt").read_bytes())
    (tls / "zone.key").write_bytes(forged.with_suffix(".key").read_bytes())


def _a_callers_certificate(tls: Path) -> None:
    for end in ("crt", "key"):
        (tls / f"zone.{end}").write_bytes((tls.parent / "commerce" / f"commerce.{end}").read_bytes())


def _no_authority(tls: Path) -> None:
    (tls / "ca.crt").write_bytes(b"")


@requirement("7.3.3")
@pytest.mark.parametrize(
    "spoil",
    [
        _no_json,
        _open_to_all,
        _unknown_role,
        _operator_role,
        _no_list,
        _list_of_another,
        _ended_list,
        _another_key,
        _ended_certificate,
        _a_callers_certificate,
        _no_authority,
    ],
)
async def test_files_that_do_not_serve_leave_the_old_state_and_are_recorded(
    data: Path, world: World, spoil: Callable[[Path], None]
) -> None:
    issue_to(data, "commerce")
    mine = data / "commerce" / "commerce"
    async with running(data, world) as (zone, url):
        spoil(data / "tls")
        state = zone.access.state
        trust = data / "trust"
        (trust / "tls").mkdir(parents=True)
        (trust / "tls" / "ca.crt").write_bytes((data / "authority" / "ca.crt").read_bytes())
        assert not await zone.access.look(world.database, world.clock)
        assert not await zone.access.look(world.database, world.clock)  # and once only for each change
        assert zone.access.state is state
        assert await health(trust, url, mine) == 200
    (entry,) = await events(world, "certificates.reloaded")
    assert (entry["outcome"], entry["data"]["reason"]) == ("failure", "files_refused")
    with pytest.raises(AdmissionRefused):
        Admission.open(data / "tls", world.clock())


async def test_files_that_did_not_change_are_not_read_again(data: Path, world: World) -> None:
    zone = zone_over(world, data)
    assert not await zone.access.look(world.database, world.clock)
    zone.access.wake()
    assert await zone.access.look(world.database, world.clock)


@requirement("4.2.1.1", "8.2.4", "10.2.1.5")
async def test_what_the_files_tell_is_recorded_once_however_often_it_is_read(data: Path, database_url: str) -> None:
    async with zone_world(database_url) as world:
        issue_to(data, "commerce", merchants=(MERCHANT,))
        for _ in range(3):
            await zone_over(world, data).access.record(world.database)
        assert main(["identity", "renew", "commerce", "--data", str(data), "--out", str(data / "commerce")]) == 0
        assert main(["access", "revoke", "commerce", "--data", str(data)]) == 0
        for _ in range(3):
            await zone_over(world, data).access.record(world.database)
        issued = await events(world, "identity.issued")
        assert sorted(entry["resource"] for entry in issued) == ["service:commerce", "service:commerce", "service:zone"]
        assert len(await events(world, "identity.revoked")) == 2
        changed = [entry["data"]["role"] for entry in await events(world, "access.changed")]
        assert sorted(changed) == ["commerce", "none", "none"]


async def test_a_list_says_what_was_written_and_nothing_else(data: Path) -> None:
    serials = {f"{0xAB00 + number:X}": now() for number in range(50)}
    write_revocations(data / "authority", data / "tls" / "ca.crl", serials, now())
    found = read_revocations(data / "tls" / "ca.crl", data / "tls" / "ca.crt", now())
    assert found.serials == frozenset(serials)


async def test_two_authorities_in_the_bundle_each_need_a_list(data: Path, world: World) -> None:
    """An authority is replaced with both in the bundle for a while."""
    create_authority(data / "next", now())
    tls = data / "tls"
    tls.joinpath("ca.crt").write_bytes(tls.joinpath("ca.crt").read_bytes() + (data / "next" / "ca.crt").read_bytes())
    world.clock.now_ms = int(now().timestamp() * 1000)
    with pytest.raises(AdmissionRefused):
        read_admitted(tls, world.clock())


@requirement("4.2.1")
async def test_commerce_takes_up_a_renewed_certificate_without_a_restart(data: Path, world: World) -> None:
    issue_to(data, "commerce")
    now = [0.0]
    async with running(data, world) as (zone, url):
        vault = VaultClient(url, data / "commerce", now_seconds=lambda: now[0])
        try:
            assert await vault.find_charge(MERCHANT, "pay_x") is None
            old = read_certificate(data / "commerce" / "commerce.crt").serial
            again = ["identity", "renew", "commerce", "--data", str(data), "--out", str(data / "commerce")]
            assert main(again) == 0
            zone.access.state = replace_revoked(zone, old)
            with pytest.raises(VaultRefused):
                await vault.find_charge(MERCHANT, "pay_x")  # the old certificate, on the open connection
            now[0] += LOOK_SECONDS
            assert await vault.find_charge(MERCHANT, "pay_x") is None
            (data / "commerce" / "commerce.key").write_bytes(b"half a file")
            now[0] += LOOK_SECONDS
            assert await vault.find_charge(MERCHANT, "pay_x") is None  # files that do not serve are not taken
        finally:
            await vault.close()


def replace_revoked(zone: Zone, serial: str) -> Any:
    """The zone's state with one certificate revoked."""
    return replace(zone.access.state, revoked=frozenset({serial}))


async def test_a_client_without_a_zone_is_told_so(data: Path) -> None:
    issue_to(data, "commerce")
    vault = VaultClient("https://127.0.0.1:1", data / "commerce")
    with pytest.raises(VaultUnavailable):
        await vault.find_charge(MERCHANT, "pay_x")
    await vault.close()


async def test_the_watch_takes_up_a_change_when_woken(data: Path, world: World) -> None:
    zone = zone_over(world, data)
    watch = asyncio.create_task(zone.access.watch(world.database, world.clock))
    state = zone.access.state
    try:
        issue_to(data, "commerce")
        zone.access.wake()
        async with asyncio.timeout(10):
            while zone.access.state is state:
                await events(world, "certificates.reloaded")
    finally:
        watch.cancel()
    assert Identity.parse("commerce") in zone.access.state.policy.permissions


def test_files_of_identities_are_for_their_owner_alone(data: Path) -> None:
    issue_to(data, "commerce")
    kept = [path for path in data.rglob("*") if path.is_file() and path.suffix in (".key", ".json")]
    assert len(kept) == 4
    assert [path for path in kept if os.stat(path).st_mode & 0o077] == []
