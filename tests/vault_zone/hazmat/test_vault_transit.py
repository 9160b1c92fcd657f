"""The key-service provider besides the contract: tokens and leases, outages of every kind, TLS, what Vault is asked."""

import datetime
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import hvac
import pytest
import requests
from hvac import exceptions

from tests.requirement import requirement
from tests.vault_zone.hazmat.harness import secret_file
from tests.vault_zone.hazmat.vault_stand_in import JWT, ROLE_ID, SECRET_ID, VaultStandIn, running_vault
from vault_zone.hazmat.pki import create_authority, issue_identity
from vault_zone.hazmat.provider import KeyContext, KeyDestroyed, KeyUnavailable
from vault_zone.hazmat.vault_session import AppRole, Kubernetes, VaultPlace
from vault_zone.hazmat.vault_transit import VaultKeys

CONTEXT = KeyContext("harbour-pine", "sealing", "key_a")


@pytest.fixture
def vault() -> Iterator[VaultStandIn]:
    """The stand-in."""
    with running_vault() as running:
        yield running


@pytest.fixture
def auth(tmp_path: Path) -> AppRole:
    """AppRole with the stand-in's ids."""
    return AppRole(secret_file(tmp_path / "role", ROLE_ID), secret_file(tmp_path / "secret", SECRET_ID))


@pytest.fixture
def keys(vault: VaultStandIn, auth: AppRole) -> Iterator[VaultKeys]:
    """The provider on the stand-in, on its clock."""
    made = VaultKeys(VaultPlace(vault.address, auth, timeout_seconds=0.5), vault.clock)
    yield made
    made.close()


def test_one_login_serves_until_two_thirds_of_the_lease_then_a_renewal_does(
    vault: VaultStandIn, keys: VaultKeys
) -> None:
    wrapped = keys.generate(CONTEXT).wrapped
    vault.now += 39
    keys.unwrap(wrapped, CONTEXT)
    assert (vault.logins, vault.renewals) == (1, 0)
    vault.now += 2
    keys.unwrap(wrapped, CONTEXT)
    assert (vault.logins, vault.renewals) == (1, 1)


def test_a_renewal_that_gains_little_and_a_lease_that_ended_are_new_logins(
    vault: VaultStandIn, keys: VaultKeys
) -> None:
    wrapped = keys.generate(CONTEXT).wrapped
    for _ in range(3):  # up to the token's maximum of 150 s, where a renewal gives less than half a lease
        vault.now += 42
        keys.unwrap(wrapped, CONTEXT)
    assert (vault.logins, vault.renewals) == (2, 3)
    vault.now += 1000
    keys.unwrap(wrapped, CONTEXT)
    assert vault.logins == 3


def test_a_revoked_token_is_replaced_within_the_same_call(vault: VaultStandIn, keys: VaultKeys) -> None:
    made = keys.generate(CONTEXT)
    vault.revoke_all()
    assert keys.unwrap(made.wrapped, CONTEXT) == made.key
    assert vault.logins == 2


def test_many_threads_that_lost_the_token_log_in_once(vault: VaultStandIn, keys: VaultKeys) -> None:
    made = keys.generate(CONTEXT)
    vault.revoke_all()
    opened, start = list[bytes](), threading.Barrier(8)

    def work() -> None:
        start.wait()
        opened.append(keys.unwrap(made.wrapped, CONTEXT))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == [made.key] * 8
    assert vault.logins == 2


def test_what_the_policy_forbids_is_unavailable_and_not_tried_for_ever(vault: VaultStandIn, keys: VaultKeys) -> None:
    made = keys.generate(CONTEXT)
    vault.forbidden = {"/decrypt/"}
    before = len(vault.seen)
    with pytest.raises(KeyUnavailable) as refused:
        keys.unwrap(made.wrapped, CONTEXT)
    assert not isinstance(refused.value, KeyDestroyed)
    assert len(vault.seen) - before == 3  # the call, a login, the call


def stalled(vault: VaultStandIn) -> None:
    vault.stall = threading.Event()


def over(vault: VaultStandIn) -> None:
    if vault.stall is not None:
        vault.stall.set()
    vault.stall, vault.status, vault.redirect_to, vault.garbage = None, None, None, None
    vault.is_sealed = vault.is_standby = False


def answers(status: int) -> Callable[[VaultStandIn], object]:
    return lambda vault: setattr(vault, "status", status)


OUTAGES: dict[str, Callable[[VaultStandIn], object]] = {
    "sealed": lambda vault: setattr(vault, "is_sealed", True),
    "standby": lambda vault: setattr(vault, "is_standby", True),
    **{str(status): answers(status) for status in (412, 500, 501, 502, 504)},
    "stalled": stalled,
    "redirect": lambda vault: setattr(vault, "redirect_to", "http://127.0.0.1:9"),
    "not json": lambda vault: setattr(vault, "garbage", b"<html>"),
    "not an object": lambda vault: setattr(vault, "garbage", b"[1]"),
    "empty object": lambda vault: setattr(vault, "garbage", b"{}"),
    "wrong types": lambda vault: setattr(
        vault, "garbage", b'{"data": {"plaintext": 1, "ciphertext": null, "hmac": []}}'
    ),
    "mount gone": lambda vault: setattr(vault, "mount", "elsewhere"),
    "another namespace": lambda vault: setattr(vault, "namespace", "elsewhere"),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_in_any_outage_calls_are_unavailable_never_destroyed_and_recover(
    vault: VaultStandIn, keys: VaultKeys, outage: str
) -> None:
    made, mac = keys.generate(CONTEXT), keys.mac(CONTEXT.merchant, b"m")
    OUTAGES[outage](vault)
    for call in (
        lambda: keys.unwrap(made.wrapped, CONTEXT),
        lambda: keys.rewrap(made.wrapped, CONTEXT),
        lambda: keys.generate(CONTEXT),
        lambda: keys.mac(CONTEXT.merchant, b"m"),
        *([] if "object" in outage or outage == "wrong types" else [keys.check]),
    ):
        with pytest.raises(KeyUnavailable) as refused:
            call()
        assert not isinstance(refused.value, KeyDestroyed)
        assert refused.value.__cause__ is None
    over(vault)
    vault.mount, vault.namespace = "transit", None
    keys.check()
    assert keys.unwrap(made.wrapped, CONTEXT) == made.key
    assert keys.mac(CONTEXT.merchant, b"m") == mac


def test_vault_away_at_the_start_is_unavailable_until_it_comes(vault: VaultStandIn, auth: AppRole) -> None:
    vault.is_sealed = True
    keys = VaultKeys(VaultPlace(vault.address, auth), vault.clock)
    with pytest.raises(KeyUnavailable):
        keys.check()
    vault.is_sealed = False
    keys.check()
    keys.close()


def test_a_secret_id_is_read_anew_at_every_login(vault: VaultStandIn, keys: VaultKeys, auth: AppRole) -> None:
    secret_file(auth.secret_id_file, "old and revoked")
    with pytest.raises(KeyUnavailable):
        keys.check()
    secret_file(auth.secret_id_file, SECRET_ID)
    keys.check()
    auth.secret_id_file.chmod(0o644)
    vault.revoke_all()
    with pytest.raises(KeyUnavailable):
        keys.generate(CONTEXT)


def test_a_pod_logs_in_with_its_own_token(vault: VaultStandIn, tmp_path: Path) -> None:
    (tmp_path / "jwt").write_text(JWT, encoding="utf-8")
    keys = VaultKeys(VaultPlace(vault.address, Kubernetes("zone", tmp_path / "jwt")), vault.clock)
    made = keys.generate(CONTEXT)
    assert keys.unwrap(made.wrapped, CONTEXT) == made.key
    keys.close()
    assert vault.tokens == {}  # revoked


def test_every_request_names_the_namespace_and_the_mount(auth: AppRole) -> None:
    with running_vault(namespace="payments/zone", mount="cards") as vault:
        keys = VaultKeys(VaultPlace(vault.address, auth, mount="cards", namespace="payments/zone"), vault.clock)
        keys.generate(CONTEXT)
        keys.close()
        assert {headers.get("x-vault-namespace") for _, _, headers in vault.seen} == {"payments/zone"}
        assert {path.split("/")[2] for _, path, _ in vault.seen} == {"cards", "auth"}


@requirement("3.6.1.2")
def test_the_keys_that_are_asked_for_can_never_leave_vault(vault: VaultStandIn, keys: VaultKeys) -> None:
    keys.generate(CONTEXT)
    assert sorted((name, key.derived) for name, key in vault.keys.items()) == [
        ("cordon-mac-m-harbour-pine", False),
        ("cordon-wrap-m-harbour-pine", True),
    ]
    assert not any(key.exportable or key.allow_plaintext_backup for key in vault.keys.values())
    keys.destroy(CONTEXT.merchant)
    assert {path.split("/")[3] for _, path, _ in vault.seen if "/transit/" in path} <= {"keys", "datakey", "hmac"}
    assert list(vault.keys) == ["cordon-destroyed-m-harbour-pine"]
    assert not any(key.exportable or key.allow_plaintext_backup for key in vault.keys.values())


@requirement("3.7.5")
def test_a_destruction_between_look_and_making_leaves_no_key(
    vault: VaultStandIn, keys: VaultKeys, auth: AppRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, make = VaultKeys(VaultPlace(vault.address, auth), vault.clock), keys._create

    def late(name: str, *, derived: bool) -> None:
        other.destroy(CONTEXT.merchant)
        make(name, derived=derived)

    monkeypatch.setattr(keys, "_create", late)
    with pytest.raises(KeyDestroyed):
        keys.generate(CONTEXT)
    other.close()
    assert list(vault.keys) == ["cordon-destroyed-m-harbour-pine"]


def test_the_users_own_token_proxy_and_address_take_no_part(
    vault: VaultStandIn, keys: VaultKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("VAULT_TOKEN", "hvs.of-the-user"),
        ("VAULT_ADDR", "http://127.0.0.1:9"),
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("ALL_PROXY", "http://127.0.0.1:9"),
    ):
        monkeypatch.setenv(name, value)
    keys.check()
    assert "hvs.of-the-user" not in {headers.get("x-vault-token") for _, _, headers in vault.seen}


@requirement("4.2.1")
def test_a_vault_whose_certificate_is_of_another_authority_is_not_spoken_to(auth: AppRole, tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)  # certificates are checked against the real clock
    for name in ("right", "wrong"):
        create_authority(tmp_path / name, now)
    issue_identity(tmp_path / "right", tmp_path / "server", "vault", now, hosts=("127.0.0.1",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server" / "vault.crt", tmp_path / "server" / "vault.key")
    with running_vault(tls=context) as vault:
        right = VaultKeys(VaultPlace(vault.address, auth, ca_file=tmp_path / "right" / "ca.crt"), vault.clock)
        right.check()
        right.close()
        seen = len(vault.seen)
        for ca_file in (tmp_path / "wrong" / "ca.crt", None):
            wrong = VaultKeys(VaultPlace(vault.address, auth, ca_file=ca_file), vault.clock)
            with pytest.raises(KeyUnavailable):
                wrong.check()
            wrong.close()
        assert len(vault.seen) == seen


def client(vault: VaultStandIn) -> hvac.Client:
    """hvac's own client, logged in."""
    made = hvac.Client(url=vault.address, token="")
    made.auth.approle.login(ROLE_ID, SECRET_ID)
    return made


def test_the_stand_in_keeps_to_what_hvac_expects_of_vault(vault: VaultStandIn) -> None:
    """The client library's own view: its error for each status, its shapes, Vault's rules for versions and deletion."""
    made = client(vault)
    transit, context = made.secrets.transit, "Y29udGV4dA=="
    with pytest.raises(exceptions.InvalidPath):
        transit.read_key("k")
    with pytest.raises(exceptions.InvalidRequest, match="not found"):
        transit.generate_data_key("k", "plaintext", context=context)
    transit.create_key("k", key_type="aes256-gcm96", derived=True)
    transit.create_key("k", key_type="aes256-gcm96", derived=True)
    assert transit.read_key("k")["data"]["latest_version"] == 1
    with pytest.raises(exceptions.InvalidRequest, match="context"):
        transit.generate_data_key("k", "plaintext")
    data = transit.generate_data_key("k", "plaintext", context=context)["data"]
    assert transit.decrypt_data("k", data["ciphertext"], context=context)["data"]["plaintext"] == data["plaintext"]
    with pytest.raises(exceptions.InvalidRequest, match="authentication"):
        transit.decrypt_data("k", data["ciphertext"], context="b3RoZXI=")
    assert transit.rotate_key("k").status_code == 204
    moved = transit.rewrap_data("k", data["ciphertext"], context=context)["data"]["ciphertext"]
    assert moved.startswith("vault:v2:")
    transit.update_key_configuration("k", min_decryption_version=2)
    with pytest.raises(exceptions.InvalidRequest, match="too old"):
        transit.decrypt_data("k", data["ciphertext"], context=context)
    assert transit.decrypt_data("k", moved, context=context)["data"]["plaintext"] == data["plaintext"]
    first = transit.generate_hmac("k", "bQ==", key_version=1)["data"]["hmac"]
    assert first.startswith("vault:v1:")
    assert transit.generate_hmac("k", "bQ==")["data"]["hmac"].startswith("vault:v2:")
    with pytest.raises(exceptions.InvalidRequest, match="not allowed"):
        transit.delete_key("k")
    transit.update_key_configuration("k", deletion_allowed=True)
    transit.delete_key("k")
    with pytest.raises(exceptions.InvalidRequest):
        transit.delete_key("k")
    vault.is_sealed = True
    with pytest.raises(exceptions.VaultDown):
        transit.read_key("k")
    vault.is_sealed = False
    made.auth.token.revoke_self()
    with pytest.raises(exceptions.Forbidden):
        transit.read_key("k")
    assert requests.get(f"{vault.address}/v1/transit/keys/k", timeout=5).status_code == 412
