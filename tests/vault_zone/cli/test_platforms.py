"""The commands that let a platform hand over cards, list and remove it, and print what a business publishes."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from sqlalchemy import select

from audit.store import audit_event
from audit.transaction import Database
from tests.requirement import requirement
from tests.vault_zone.world import MERCHANT, START_MS
from vault_zone.cli import main
from vault_zone.models import agent_platform
from vault_zone.platforms import Platforms, PlatformUnknown, Protocol

Run = Callable[..., int]


@pytest.fixture
def url(tmp_path: Path, database_url: str) -> str:
    """Either database, before a zone whose keys are there."""
    (tmp_path / "keys").mkdir()
    return database_url


@pytest.fixture
def run(tmp_path: Path, url: str) -> Run:
    """`vault-zone platforms` over it."""
    return lambda *words: main(["platforms", *words, "--data", str(tmp_path), "--database-url", url])


def add(run: Run, *words: str) -> int:
    return run("add", "Chat", "--protocol", "acp", "--merchant", MERCHANT, *words)


def asked(url: str, bearer: str, protocol: Protocol = Protocol.ACP) -> str:
    """Whose key this is, as the zone finds it."""

    async def ask() -> str:
        database = Database.open(url, lambda: START_MS)
        try:
            return (await Platforms(database, lambda: START_MS).named_by(f"Bearer {bearer}", protocol)).id
        finally:
            await database.close()

    return asyncio.run(ask())


def stored(url: str) -> tuple[str, list[str]]:
    """The table of platforms as text, and the types of the events."""

    async def read() -> tuple[str, list[str]]:
        database = Database.open(url, lambda: START_MS)
        try:
            rows = await database.read(lambda c: c.execute(select(agent_platform)).all())
            kinds = await database.read(
                lambda c: c.execute(select(audit_event.c.type).order_by(audit_event.c.id)).scalars().all()
            )
            return str(rows), list(kinds)
        finally:
            await database.close()

    return asyncio.run(read())


def said(text: str) -> dict[str, str]:
    """The lines of an answer that have a name."""
    return dict(line.split(None, 1) for line in text.splitlines() if line.startswith(("platform ", "bearer ")))


@requirement("8.6.1", "10.2.1.5")
def test_an_added_platform_has_a_key_that_is_shown_once_and_stored_nowhere(
    run: Run, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(run) == 0
    shown = said(capsys.readouterr().out)
    assert asked(url, shown["bearer"]) == shown["platform"]
    rows, kinds = stored(url)
    assert shown["bearer"] not in rows
    assert kinds[-1] == "platform.added"
    assert run("list") == 0
    line = capsys.readouterr().out
    assert shown["platform"] in line
    assert f"Chat: acp for {MERCHANT}; not signed" in line
    assert shown["bearer"] not in line


@requirement("7.2.5")
def test_a_removed_platform_is_unknown_from_then_on_and_cannot_be_removed_twice(
    run: Run, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    add(run)
    shown = said(capsys.readouterr().out)
    assert run("remove", shown["platform"]) == 0
    with pytest.raises(PlatformUnknown):
        asked(url, shown["bearer"])
    assert stored(url)[1][-1] == "platform.removed"
    assert run("remove", shown["platform"]) == 1
    assert "no such platform" in capsys.readouterr().err
    assert run("list") == 0
    assert capsys.readouterr().out == ""


def test_ucp_needs_a_ceiling_and_shows_it(run: Run, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert add(run, "--protocol", "ucp") == 1
    assert "--ceiling" in capsys.readouterr().err
    assert stored(url) == ("[]", [])
    assert add(run, "--protocol", "ucp", "--ceiling", "USD 500.00") == 0
    run("list")
    assert "acp, ucp for harbour-pine; not signed, UCP tokens up to $500.00" in capsys.readouterr().out


@pytest.mark.parametrize("ceiling", ["500", "USD -1.00", "USD 1.001", "ZZZ 1.00", "USD"])
def test_a_ceiling_that_is_no_amount_is_refused_with_its_form(
    run: Run, ceiling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(run, "--protocol", "ucp", "--ceiling", ceiling) == 1
    complaint = capsys.readouterr().err
    assert "USD 500.00" in complaint
    assert complaint.count("\n") == 1


def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def test_a_signature_key_is_taken_by_its_kind(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"ed25519": ed25519.Ed25519PrivateKey.generate(), "es256": ec.generate_private_key(ec.SECP256R1())}
    for kind, key in keys.items():
        (tmp_path / kind).write_bytes(pem(key))  # type: ignore[arg-type]
        assert add(run, "--signature-key", str(tmp_path / kind)) == 0
    run("list")
    shown = capsys.readouterr().out
    assert all(f"signed with {kind}" in shown for kind in keys)


@pytest.mark.parametrize(
    "content",
    [b"no key", b"\xff\xfe", pem(rsa.generate_private_key(65537, 2048)), None],
    ids=["text", "bytes", "rsa", "none"],
)
def test_a_file_that_is_no_such_key_is_refused_and_adds_nobody(
    run: Run, url: str, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "key.pem").write_bytes(content)
    assert add(run, "--signature-key", str(tmp_path / "key.pem")) == 1
    assert "public key in PEM" in capsys.readouterr().err
    assert run("list") == 0
    assert capsys.readouterr().out == ""


def test_where_no_zone_was_made_the_command_says_how(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["platforms", "list", "--data", str(tmp_path)]) == 1
    assert "vault-zone init" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def handler(*words: str, public_url: str = "https://cards.example") -> int:
    return main(
        [
            "platforms",
            "handler",
            "--name",
            "com.example.cards",
            "--merchant",
            MERCHANT,
            "--public-url",
            public_url,
            *words,
        ]
    )


@pytest.mark.parametrize("environment", ["production", "development"])
def test_the_declaration_is_json_for_the_profile_of_its_environment(
    environment: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORDON_ENVIRONMENT", environment)
    assert handler("--spec", "https://shop.example/cards") == 0
    [entry] = json.loads(capsys.readouterr().out)["com.example.cards"]
    assert entry["spec"] == "https://shop.example/cards"
    assert entry["config"] == {
        "environment": {"production": "production", "development": "sandbox"}[environment],
        "endpoint": "https://cards.example/ucp",
        "business_id": MERCHANT,
        "identity": {"access_token": MERCHANT},
    }


def test_a_declaration_that_could_not_be_published_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORDON_ENVIRONMENT", "production")
    assert handler(public_url="http://cards.example") == 1
    assert handler("--schema", "http://shop.example/cards.json") == 1
    assert handler("--name", "cards") == 1
    complaints = capsys.readouterr()
    assert complaints.out == ""
    assert complaints.err.count("\n") == 3
