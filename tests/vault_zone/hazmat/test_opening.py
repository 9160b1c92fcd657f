"""``keys/provider.json``: what it may say, each way in which it is refused, and that a refusal says what to mend."""

import ast
import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.requirement import requirement
from tests.vault_zone.hazmat.harness import secret_file
from vault_zone.hazmat import opening
from vault_zone.hazmat.files import KeyRefused
from vault_zone.hazmat.local import LocalKeys
from vault_zone.hazmat.opening import PROVIDER_FILE, open_provider
from vault_zone.hazmat.provider import KeyProvider

DEVELOPMENT, PRODUCTION = "development", "production"
SECRET = "sesame-opens"  # what the files of secrets hold here
APPROLE = {"kind": "approle", "role_id_file": "role-id", "secret_id_file": "secret-id"}
GOOD: dict[str, dict[str, Any]] = {
    "local": {"kind": "local"},
    "vault": {
        "kind": "vault",
        "address": "https://vault.internal:8200",
        "mount": "cards",
        "namespace": "payments",
        "ca_file": "ca.crt",
        "key_prefix": "zone",
        "timeout_seconds": 5,
        "auth": {**APPROLE, "mount": "zone-approle"},
    },
    "kubernetes": {
        "kind": "vault",
        "address": "https://vault.internal",
        "auth": {"kind": "kubernetes", "mount": "cluster", "role": "zone", "jwt_file": "jwt"},
    },
    "pkcs11": {"kind": "pkcs11", "module": "module.so", "token": "zone", "pin_file": "pin", "timeout_seconds": 0.5},
}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A keys directory of development with every file that the good ones name."""
    LocalKeys.for_development(tmp_path, DEVELOPMENT).close()
    for name in ("role-id", "secret-id", "pin"):
        secret_file(tmp_path / name, SECRET)
    for name in ("ca.crt", "jwt", "module.so"):
        (tmp_path / name).write_text("public", encoding="utf-8")
    return tmp_path


def opened(keys: Path, named: object, environment: str = DEVELOPMENT) -> KeyProvider:
    """The provider that the file names."""
    (keys / PROVIDER_FILE).write_text(json.dumps(named), encoding="utf-8")
    return open_provider(keys, environment)


@pytest.mark.parametrize(("which", "name"), [*((kind, GOOD[kind]["kind"]) for kind in GOOD)])
def test_what_the_file_names_is_opened_without_a_call(keys: Path, which: str, name: str) -> None:
    provider = opened(keys, GOOD[which])
    assert provider.name == name
    provider.close()


def test_without_the_file_the_local_provider_is_opened(keys: Path) -> None:
    assert open_provider(keys, DEVELOPMENT).name == "local"


@pytest.mark.parametrize("address", ["http://127.0.0.1:8200", "http://localhost:8200", "http://[::1]:8200"])
def test_in_development_a_vault_on_this_machine_may_do_without_tls(keys: Path, address: str) -> None:
    opened(keys, {**GOOD["vault"], "address": address}).close()
    assert refusal(lambda: opened(keys, {**GOOD["vault"], "address": address}, PRODUCTION)) == "provider_without_tls"


def refusal(call: Callable[[], object]) -> str:
    """The code of a refusal, which holds nothing of the files of secrets."""
    with pytest.raises(KeyRefused) as refused:
        call()
    assert SECRET not in str(refused.value)
    assert refused.value.__cause__ is None
    return refused.value.code


def put(*path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Sets a field, which may stand in ``auth``."""

    def change(named: dict[str, Any]) -> None:
        for part in path[:-1]:
            named = named[part]
        named[path[-1]] = value

    return change


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    """Takes a field out."""

    def change(named: dict[str, Any]) -> None:
        for part in path[:-1]:
            named = named[part]
        del named[path[-1]]

    return change


MALFORMED, MISSING = "provider_file_malformed", "key_file_missing"
NOT_TEXT: tuple[object, ...] = (None, 7, [], {}, "", "a\u0000b")
NOT_AUTH: tuple[object, ...] = (None, [], "approle", {}, {"kind": "token"})
NOT_SECONDS = (0, -1, 61, True, "5", None, float("nan"), float("inf"))
ADDRESSES = ("https://", "https:///v1", "https://[", "https://vault:port", "vault.internal", "https://zone:word@vault")
WITHOUT_TLS = (
    "http://vault.internal",
    "http://127.0.0.1.elsewhere.example",
    "http://127.0.0.2",
    "ftp://127.0.0.1",
    "file://127.0.0.1/x",
)
# Which good file, what is wrong with it, the code.
REFUSALS: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    *(("local", put("kind", value=value), MALFORMED) for value in NOT_TEXT),
    ("local", drop("kind"), MALFORMED),
    ("local", put("kind", value="Vault"), "provider_unknown"),
    *((kind, put("token_id", value="x"), MALFORMED) for kind in GOOD),
    *(("vault", put(name, value=value), MALFORMED) for name in ("address", "mount", "namespace") for value in NOT_TEXT),
    *(("vault", put(name, value=value), MALFORMED) for name in ("ca_file", "key_prefix") for value in NOT_TEXT),
    ("vault", drop("address"), MALFORMED),
    *(("vault", put("address", value=address), MALFORMED) for address in ADDRESSES),
    *(("vault", put("address", value=address), "provider_without_tls") for address in WITHOUT_TLS),
    ("vault", put("ca_file", value="nowhere"), MALFORMED),
    ("vault", put("ca_file", value="."), MALFORMED),
    *((kind, put("timeout_seconds", value=value), MALFORMED) for kind in ("vault", "pkcs11") for value in NOT_SECONDS),
    ("vault", drop("auth"), MALFORMED),
    *(("vault", put("auth", value=value), MALFORMED) for value in NOT_AUTH),
    ("vault", put("auth", "secret_id", value="x"), MALFORMED),
    *(("vault", put("auth", "mount", value=value), MALFORMED) for value in NOT_TEXT),
    *(("vault", drop("auth", name), MALFORMED) for name in ("role_id_file", "secret_id_file")),
    *(("vault", put("auth", name, value="nowhere"), MISSING) for name in ("role_id_file", "secret_id_file")),
    ("kubernetes", put("auth", "secret_id_file", value="secret-id"), MALFORMED),
    *(("kubernetes", drop("auth", name), MALFORMED) for name in ("role", "jwt_file")),
    *(("kubernetes", put("auth", "mount", value=value), MALFORMED) for value in NOT_TEXT),
    ("kubernetes", put("auth", "jwt_file", value="nowhere"), MALFORMED),
    *(("pkcs11", drop(name), MALFORMED) for name in ("module", "token", "pin_file")),
    *(("pkcs11", put(name, value=value), MALFORMED) for name in ("module", "token", "pin_file") for value in NOT_TEXT),
    ("pkcs11", put("module", value="nowhere.so"), MALFORMED),
    ("pkcs11", put("pin_file", value="nowhere"), MISSING),
]


@requirement("8.6.2")
@pytest.mark.parametrize("at", range(len(REFUSALS)))
def test_a_file_with_one_thing_wrong_is_refused_with_its_code(keys: Path, at: int) -> None:
    which, change, code = REFUSALS[at]
    named = copy.deepcopy(GOOD[which])
    change(named)
    assert refusal(lambda: opened(keys, named)) == code


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"local"', b"null", b"\xff", b"[" * 100_000], ids=lambda content: repr(content[:8])
)
def test_a_file_that_is_no_object_is_refused(keys: Path, content: bytes) -> None:
    (keys / PROVIDER_FILE).write_bytes(content)
    assert refusal(lambda: open_provider(keys, DEVELOPMENT)) == MALFORMED
    (keys / PROVIDER_FILE).unlink()
    (keys / PROVIDER_FILE).mkdir()
    assert refusal(lambda: open_provider(keys, DEVELOPMENT)) == MALFORMED


@requirement("8.6.2")
@pytest.mark.parametrize(("which", "name"), [("vault", "role-id"), ("vault", "secret-id"), ("pkcs11", "pin")])
def test_a_secret_that_others_may_read_is_refused(keys: Path, which: str, name: str) -> None:
    (keys / name).chmod(0o640)
    assert refusal(lambda: opened(keys, GOOD[which])) == "key_file_readable_by_others"


def test_before_anything_was_made_development_is_told_to_begin(tmp_path: Path) -> None:
    assert refusal(lambda: open_provider(tmp_path, DEVELOPMENT)) == MISSING
    assert refusal(lambda: open_provider(tmp_path, PRODUCTION)) == MISSING


def test_production_refuses_the_root_key_of_development(keys: Path) -> None:
    assert refusal(lambda: open_provider(keys, PRODUCTION)) == "development_key_in_production"


@pytest.mark.parametrize(
    ("which", "module"),
    [("vault", "vault_zone.hazmat.vault_session"), ("pkcs11", "vault_zone.hazmat.pkcs11_token")],
)
def test_a_provider_whose_library_is_not_installed_is_refused(
    keys: Path, monkeypatch: pytest.MonkeyPatch, which: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert refusal(lambda: opened(keys, GOOD[which])) == "provider_not_installed"


FIELDS = sorted({name for named in GOOD.values() for name in (*named, *named.get("auth", {}))})
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70),
    st.text(max_size=12),
    st.sampled_from(
        [*GOOD, *ADDRESSES, *WITHOUT_TLS, "approle", "pin", "role-id", "module.so", "jwt", "../x", "nowhere"]
    ),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    named=st.fixed_dictionaries(
        {"kind": st.sampled_from(["local", "vault", "pkcs11"])},
        optional={
            **{name: VALUES for name in FIELDS if name not in ("kind", "auth")},
            "auth": st.one_of(VALUES, st.dictionaries(st.sampled_from(FIELDS), VALUES)),
        },
    ),
    environment=st.sampled_from([DEVELOPMENT, PRODUCTION]),
)
def test_whatever_the_file_says_it_is_opened_or_refused(keys: Path, named: dict[str, Any], environment: str) -> None:
    assert SECRET not in outcome(lambda: opened(keys, named, environment), KeyRefused)


def guards(source: str) -> int:
    """How many places refuse."""
    return sum(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(ast.parse(source)))


SOURCE = Path(opening.__file__).read_text(encoding="utf-8")


def without(at: int) -> str:
    """The module with its guard of this number doing nothing: a planted fault."""
    tree, seen = ast.parse(SOURCE), -1

    class Blind(ast.NodeTransformer):
        def visit_Raise(self, node: ast.Raise) -> ast.stmt:
            nonlocal seen
            seen += 1
            return ast.Pass() if seen == at else node

    return ast.unparse(ast.fix_missing_locations(Blind().visit(tree)))


@pytest.mark.parametrize("at", range(guards(SOURCE)))
def test_each_guard_is_missed_when_it_does_nothing(
    keys: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: int
) -> None:
    """Every refusal of the module has a case above that sees it: without the guard, one of them goes another way."""
    blinded: dict[str, Any] = {"__name__": "blinded"}
    exec(compile(without(at), "blinded", "exec"), blinded)  # the module itself, less one guard
    expected, seen = outcomes(keys, open_provider), outcomes(keys, blinded["open_provider"])
    assert len(expected) == len(seen)
    for module in ("vault_zone.hazmat.vault_session", "vault_zone.hazmat.pkcs11_token"):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, module, None)
            expected += outcomes(keys, open_provider)
            seen += outcomes(keys, blinded["open_provider"])
    assert seen != expected


def outcomes(keys: Path, open_named: Callable[[Path, str], KeyProvider]) -> list[str]:
    """What each case above comes to."""
    found = []
    for which, change, _ in REFUSALS:
        named = copy.deepcopy(GOOD[which])
        change(named)
        (keys / PROVIDER_FILE).write_text(json.dumps(named), encoding="utf-8")
        found.append(outcome(lambda: open_named(keys, DEVELOPMENT)))
    for content in (b"{", b"[]"):
        (keys / PROVIDER_FILE).write_bytes(content)
        found.append(outcome(lambda: open_named(keys, DEVELOPMENT)))
    (keys / PROVIDER_FILE).unlink()
    nothing = keys / "nothing"
    return [*found, outcome(lambda: open_named(nothing, DEVELOPMENT)), outcome(lambda: open_named(nothing, PRODUCTION))]


def outcome(call: Callable[[], KeyProvider], among: type[Exception] = Exception) -> str:
    """``opened``, or how it was refused; what is not of the kind asked for is raised."""
    try:
        call().close()
    except among as failure:
        return f"{type(failure).__name__} {failure}"
    return "opened"
