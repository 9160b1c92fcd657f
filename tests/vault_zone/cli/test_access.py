"""The commands that issue, renew, change, list and take back identities, and the one that speaks for an operator."""

import json
from pathlib import Path

import pytest

from tests.requirement import requirement
from tests.vault_zone.authority import issue_to, make_zone_files, now
from vault_zone.access_file import AccessFile, read_access
from vault_zone.cli import main
from vault_zone.cli.refused import CommandRefused
from vault_zone.cli.zone_client import ZoneClient
from vault_zone.hazmat.pki import read_certificate
from vault_zone.hazmat.revocation import read_revocations
from vault_zone.identity import Identity


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A zone's files with an authority."""
    make_zone_files(tmp_path)
    return tmp_path


def access(data: Path) -> AccessFile:
    """What the file says."""
    return read_access(data / "tls" / "access.json")


def issue(data: Path, *words: str) -> int:
    """`vault-zone identity` into ``data/out``."""
    return main(["identity", *words, "--data", str(data), "--out", str(data / "out")])


def test_a_service_named_as_a_role_has_it_for_every_merchant_in_development(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CORDON_ENVIRONMENT", raising=False)
    assert issue(data, "commerce") == 0
    entry = access(data).entry(Identity.parse("commerce"))
    assert (entry.role, entry.merchants) == ("commerce", ("*",))
    assert read_certificate(data / "out" / "commerce.crt").urns == ("urn:cordon:service:commerce",)


def test_in_production_the_merchants_have_to_be_said(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORDON_ENVIRONMENT", "production")
    assert issue(data, "commerce") == 1
    assert "--merchant" in capsys.readouterr().err
    assert not (data / "out").exists()
    assert issue(data, "commerce", "--merchant", "harbour-pine", "--merchant", "oak") == 0
    assert access(data).entry(Identity.parse("commerce")).merchants == ("harbour-pine", "oak")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stranger",), "--role"),
        (("operator:ana", "--role", "commerce"), "cannot have the role"),
        (("ana", "--role", "key_manager"), "cannot have the role"),
        (("operator:ana", "--role", "everything"), "cannot have the role"),
        (("robot:ana", "--role", "key_manager"), "service, operator, custodian"),
        (("Ana",), "begins with a letter"),
        (("../ana",), "begins with a letter"),
        (("commerce", "--hours", "2161"), "1 to 2160 hours"),
        (("commerce", "--merchant", "*", "--merchant", "a"), "every merchant"),
        (("renew",), "whose"),
        (("renew", "commerce"), "issue it first"),
        (("commerce", "monitor"), "one NAME at a time"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(
    data: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = access(data)
    assert issue(data, *words) == 1
    complaint = capsys.readouterr().err
    assert said in complaint
    assert complaint.count("\n") == 1
    assert access(data) == before


@requirement("8.2.1")
def test_an_operator_does_not_replace_a_service_of_the_same_name(data: Path) -> None:
    assert issue(data, "ana", "--role", "monitor") == 0
    before = (data / "out" / "ana.crt").read_bytes()
    assert issue(data, "operator:ana", "--role", "auditor") == 1
    assert (data / "out" / "ana.crt").read_bytes() == before


@requirement("8.6.3")
def test_renewing_keeps_name_role_and_life_and_makes_a_new_key(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    issue(data, "operator:ana", "--role", "key_manager", "--merchant", "a", "--hours", "8")
    old, key = read_certificate(data / "out" / "ana.crt"), (data / "out" / "ana.key").read_bytes()
    assert issue(data, "renew", "operator:ana", "--within", "2") == 0
    assert "not renewed" in capsys.readouterr().out
    assert read_certificate(data / "out" / "ana.crt") == old
    assert issue(data, "renew", "operator:ana") == 0
    new = read_certificate(data / "out" / "ana.crt")
    assert new.serial != old.serial
    assert (new.expires_ms - new.issued_ms, new.urns) == (8 * 3_600_000, old.urns)
    assert (data / "out" / "ana.key").read_bytes() != key
    entry = access(data).entry(Identity.parse("operator:ana"))
    assert (entry.role, entry.merchants) == ("key_manager", ("a",))
    assert [one.serial for one in entry.certificates] == [old.serial, new.serial]


@requirement("8.6.3", "8.2.5")
def test_a_revoked_identity_is_in_the_list_has_no_role_and_is_not_renewed(data: Path) -> None:
    issue(data, "commerce")
    issue(data, "renew", "commerce")
    assert main(["access", "revoke", "commerce", "--data", str(data)]) == 0
    entry = access(data).entry(Identity.parse("commerce"))
    assert (entry.role, entry.merchants) == (None, ())
    listed = read_revocations(data / "tls" / "ca.crl", data / "tls" / "ca.crt", now()).serials
    assert listed == {one.serial for one in entry.certificates}
    assert len(listed) == 2
    assert issue(data, "renew", "commerce") == 1
    assert issue(data, "commerce") == 0  # issued anew, it has a role again, and the old certificates stay out
    assert read_revocations(data / "tls" / "ca.crl", data / "tls" / "ca.crt", now()).serials == listed


def test_nothing_is_issued_without_the_authority(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = data / "kept-apart"
    (data / "authority").rename(kept)
    assert issue(data, "commerce") == 1
    assert "no authority" in capsys.readouterr().err
    assert issue(data, "commerce", "--authority", str(kept)) == 0


@requirement("4.2.1.1", "7.2.4")
def test_the_inventory_lists_every_certificate_with_its_end(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    issue(data, "commerce")
    main(["access", "revoke", "commerce", "--data", str(data)])
    issue(data, "operator:ana", "--role", "auditor", "--merchant", "a")
    capsys.readouterr()
    assert main(["access", "list", "--json", "--data", str(data)]) == 0
    found = {one["identity"]: one for one in json.loads(capsys.readouterr().out)["identities"]}
    assert set(found) == {"operator:ana", "service:commerce", "service:zone"}
    (revoked,) = found["service:commerce"]["certificates"]
    assert revoked["revoked_at"] is not None
    (zone,) = found["service:zone"]["certificates"]
    assert (zone["use"], zone["hosts"]) == ("listens", ["localhost", "127.0.0.1"])
    assert 23 * 3600 < zone["seconds_left"] <= 24 * 3600
    main(["access", "list", "--data", str(data)])
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in shown] == [
        ["operator:ana", "auditor", "a"],
        ["service:commerce", "-", "-"],
        ["service:zone", "-", "-"],
    ]


def test_the_client_says_what_is_wrong_with_what_it_was_given(data: Path) -> None:
    issue_to(data, "commerce")
    mine = data / "commerce" / "commerce"
    cases = (
        ("http://127.0.0.1:1", mine, "https://"),
        ("https://127.0.0.1:1", data / "commerce" / "nobody", "is missing"),
    )
    for url, identity, said in cases:
        with pytest.raises(CommandRefused, match=said):
            ZoneClient(url, identity)
    with ZoneClient("https://127.0.0.1:1", mine) as zone, pytest.raises(CommandRefused, match="no zone answers"):
        zone.call("GET", "/v1/health")
    (data / "commerce" / "commerce.key").chmod(0o644)
    with pytest.raises(CommandRefused, match="chmod 600"):
        ZoneClient("https://127.0.0.1:1", mine)
