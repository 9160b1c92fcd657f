"""Nothing is forwarded by a list that is unsigned, altered, older or malformed; callers choose by id and nothing else."""

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.requirement import requirement
from tests.vault_zone.forward.world import ForwardWorld, entry, forward_world
from tokenization.wire_forward import ForwardState
from vault_zone.cli.main import main
from vault_zone.errors import ZoneError
from vault_zone.forward import allowlist
from vault_zone.forward.allowlist import (
    FORMAT,
    LIST_FILE,
    PUBLIC_KEY_FILE,
    SIGNATURE_FILE,
    SIGNATURE_PURPOSE,
    AllowListRefused,
    parse_list,
)
from vault_zone.hazmat.signing import SigningKeyRefused, create_signing_key, is_signed, sign_file


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ForwardWorld]:
    """A zone with a destination."""
    async with forward_world(f"sqlite:///{tmp_path / 'zone.sqlite3'}", tmp_path) as made:
        yield made


def altered(world: ForwardWorld) -> None:
    path = world.directory / LIST_FILE
    path.write_bytes(path.read_bytes().replace(b"/v1/payments", b"/v1/paymentz"))


def signed_by_another_key(world: ForwardWorld) -> None:
    other = world.key_file.with_name("other.key")
    create_signing_key(other)
    content = (world.directory / LIST_FILE).read_bytes()
    (world.directory / SIGNATURE_FILE).write_text(sign_file(other, SIGNATURE_PURPOSE, content), encoding="ascii")


def signed_for_another_purpose(world: ForwardWorld) -> None:
    content = (world.directory / LIST_FILE).read_bytes()
    (world.directory / SIGNATURE_FILE).write_text(sign_file(world.key_file, "other", content), encoding="ascii")


def without_signature(world: ForwardWorld) -> None:
    (world.directory / SIGNATURE_FILE).unlink()


def without_pinned_key(world: ForwardWorld) -> None:
    (world.directory / PUBLIC_KEY_FILE).unlink()


def malformed_though_signed(world: ForwardWorld) -> None:
    world.publish(entry(world.there.port, merchants=[]))


def secret_readable_by_others(world: ForwardWorld) -> None:
    (world.directory / "secrets" / "acquirer.key").chmod(0o644)


def secret_missing(world: ForwardWorld) -> None:
    (world.directory / "secrets" / "acquirer.key").unlink()


FAULTS = [
    altered,
    signed_by_another_key,
    signed_for_another_purpose,
    without_signature,
    without_pinned_key,
    malformed_though_signed,
    secret_readable_by_others,
    secret_missing,
]


@pytest.mark.anyio
@requirement("1.3.2", "6.5.1")
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_list_that_is_not_the_signed_one_forwards_nothing(
    world: ForwardWorld, fault: Callable[[ForwardWorld], None]
) -> None:
    fault(world)
    assert await world.refusal() is ZoneError.FORWARD_LIST_REFUSED
    assert world.there.connections == 0


@pytest.mark.anyio
async def test_an_altered_list_would_be_used_without_its_signature(
    world: ForwardWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    altered(world)
    monkeypatch.setattr(allowlist, "is_signed", lambda *_: True)
    await world.forwarded()
    assert world.there.seen[0].line.startswith("POST /v1/paymentz")


@pytest.mark.anyio
@requirement("1.3.2", "6.5.1")
async def test_an_older_list_and_another_of_the_same_number_are_refused(world: ForwardWorld) -> None:
    world.publish(entry(world.there.port), serial=7)
    await world.forwarded()
    for serial, path in ((6, "/v1/payments"), (7, "/v1/other")):
        world.publish(entry(world.there.port, path=path), serial=serial)
        assert await world.refusal(idempotency_key="idk_b") is ZoneError.FORWARD_LIST_REFUSED
    world.restart()
    assert await world.refusal(idempotency_key="idk_b") is ZoneError.FORWARD_LIST_REFUSED
    world.publish(entry(world.there.port, path="/v1/other"), serial=8)
    assert (await world.forwarded(idempotency_key="idk_b")).state is ForwardState.ANSWERED
    assert len(world.there.seen) == 2


@pytest.mark.anyio
async def test_a_merchant_that_the_entry_does_not_name_has_no_such_destination(world: ForwardWorld) -> None:
    world.publish(entry(world.there.port, merchants=["another-brand"]))
    assert await world.refusal() is ZoneError.DESTINATION_UNKNOWN


MALFORMED: dict[str, dict[str, Any]] = {
    "header_reserved": {"headers": {"host": "elsewhere.example"}},
    "header_twice": {"caller_headers": ["authorization"]},
    "pointer_malformed": {"response": ["id"]},
    "placeholder_twice_at_one_place": {
        "placeholders": [{"at": "/n", "holds": "card.number"}, {"at": "/n", "holds": "card.name"}]
    },
    "placeholder_at_an_array": {"placeholders": [{"at": "/n/*", "holds": "card.number"}]},
    "number_only_for_dates": {"placeholders": [{"at": "/n", "holds": "card.number", "as_number": True}]},
    "number_not_in_a_form": {
        "body": "form",
        "placeholders": [{"at": "/n", "holds": "card.exp_month", "as_number": True}],
    },
    "money_fields_of_what_moves_money": {"amount_at": None},
    "money_field_is_a_placeholder": {"amount_at": "/source/number"},
    "path_malformed": {"path": "/v1/{id"},
    "path_climbs": {"path": "/v1/../admin"},
    "string_pattern_mismatch": {"host": "evil.example/..@localhost"},
    "literal_error": {"method": "GET"},
    "extra_forbidden": {"redirects": True},
    "too_short": {"placeholders": []},
    "less_than_equal": {"timeout_seconds": 600},
}


@pytest.mark.parametrize("rule", MALFORMED)
def test_an_entry_that_breaks_a_rule_is_refused_with_the_rules_name(rule: str) -> None:
    document = {"format": FORMAT, "serial": 1, "destinations": [entry(443, **MALFORMED[rule])]}
    with pytest.raises(AllowListRefused) as refused:
        parse_list(json.dumps(document).encode())
    assert any(rule in one for one in refused.value.rules)


def test_names_that_stand_twice_and_ids_that_stand_twice_are_refused() -> None:
    twice = json.dumps({"format": FORMAT, "serial": 1, "destinations": [entry(443), entry(444)]}).encode()
    for content in (
        twice,
        b'{"format": "cordon-forward-1", "serial": 1, "serial": 2, "destinations": []}',
        b"[",
        b"[]",
    ):
        with pytest.raises(AllowListRefused):
            parse_list(content)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 87), bit=st.integers(0, 5), content=st.binary(max_size=40))
def test_one_changed_bit_of_content_or_signature_is_seen(at: int, bit: int, content: bytes) -> None:
    public, signature = SIGNED
    assert is_signed(public, "p", b"content", signature)
    assert not is_signed(public, "p", content, signature) or content == b"content"
    changed = signature[:at] + chr(ord(signature[at]) ^ (1 << bit)) + signature[at + 1 :]
    assert not is_signed(public, "p", b"content", changed) or at >= 86  # the last character's low bits are padding


@pytest.fixture(scope="module", autouse=True)
def _signed(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("key") / "signing.key"
    SIGNED.extend([create_signing_key(path), sign_file(path, "p", b"content")])


SIGNED: list[str] = []


def test_the_commands_make_a_key_sign_check_and_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zone, key = tmp_path / "zone" / "forward", tmp_path / "office" / "signing.key"
    assert main(["forward", "key", "--out", str(key), "--pin", str(zone)]) == 0
    assert key.stat().st_mode & 0o777 == 0o600
    (zone / LIST_FILE).write_text(json.dumps({"format": FORMAT, "serial": 3, "destinations": [entry(443)]}))
    assert main(["forward", "check", "--directory", str(zone)]) == 1
    assert "list_missing" in capsys.readouterr().err
    assert main(["forward", "sign", "--key", str(key), "--list", str(zone / LIST_FILE)]) == 0
    assert main(["forward", "check", "--directory", str(zone)]) == 0
    assert main(["forward", "list", "--directory", str(zone)]) == 0
    shown = capsys.readouterr().out
    assert "list 3 is signed by the pinned key" in shown
    assert "acquirer: POST https://localhost:443/v1/payments json" in shown


def test_the_commands_refuse_what_would_undo_the_wall(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zone, key = tmp_path / "zone" / "forward", tmp_path / "office" / "signing.key"
    assert main(["forward", "key", "--out", str(tmp_path / "zone" / "keys" / "s.key"), "--pin", str(zone)]) == 1
    assert main(["forward", "key", "--out", str(key), "--pin", str(zone)]) == 0
    assert main(["forward", "key", "--out", str(key.with_name("b.key")), "--pin", str(zone)]) == 1
    (zone / LIST_FILE).write_text(json.dumps({"format": FORMAT, "serial": 3, "destinations": [entry(443, body="xml")]}))
    assert main(["forward", "sign", "--key", str(key), "--list", str(zone / LIST_FILE)]) == 1
    assert "destinations.0.body: literal_error" in capsys.readouterr().err
    (zone / LIST_FILE).write_text(json.dumps({"format": FORMAT, "serial": 3, "destinations": []}))
    key.chmod(0o644)
    assert main(["forward", "sign", "--key", str(key), "--list", str(zone / LIST_FILE)]) == 1


def test_a_key_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyRefused):
        sign_file(tmp_path / "absent.key", "p", b"")
    path = tmp_path / "bad.key"
    path.touch(mode=0o600)
    path.write_text("not a key")
    with pytest.raises(SigningKeyRefused):
        sign_file(path, "p", b"")
