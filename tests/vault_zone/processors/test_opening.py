"""``processors.json``: what it may say, each way in which it is refused, what is called under which name."""

import ast
import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.requirement import requirement
from tests.vault_zone.hazmat.harness import secret_file
from tests.vault_zone.processors.adyen_counterpart import API_KEY as ADYEN_KEY
from tests.vault_zone.processors.adyen_counterpart import HMAC_KEY, MERCHANT_ACCOUNT
from tests.vault_zone.processors.localstripe import TEST_KEY
from vault_zone.processors import opening
from vault_zone.processors.adyen_connector import AdyenProcessor
from vault_zone.processors.opening import open_processors
from vault_zone.processors.port import Feature
from vault_zone.processors.registry import Processors
from vault_zone.processors.sandbox import SandboxProcessor
from vault_zone.processors.stripe_connector import StripeProcessor
from vault_zone.routing_policy import RoutingPolicy
from vault_zone.settings import DEVELOPMENT, PROCESSORS_FILE, PRODUCTION, SettingsRefused, ZoneSettings

pytestmark = pytest.mark.anyio
HERE: Final = "http://127.0.0.1:8703"
PREFIX: Final = "0123456789abcdef-HarbourPine"
SECRETS: Final = {
    "processor-api.key": "sandbox-key-for-tests",
    "processor-webhook.key": "sandbox-secret-for-tests",
    "stripe-api.key": TEST_KEY,
    "second-api.key": f"{TEST_KEY}_second",
    "live-api.key": TEST_KEY.replace("_test_", "_live_"),
    "stripe-webhook.key": "whsec_for_tests_only",
    "adyen-api.key": ADYEN_KEY,
    "adyen-webhook.key": HMAC_KEY,
}
SANDBOX: Final[dict[str, Any]] = {"name": "sandbox", "kind": "sandbox"}
STRIPE: Final[dict[str, Any]] = {
    "name": "stripe",
    "kind": "stripe",
    "api_key_file": "keys/stripe-api.key",
    "webhook_key_file": "keys/stripe-webhook.key",
}
ADYEN: Final[dict[str, Any]] = {
    "name": "adyen",
    "kind": "adyen",
    "api_key_file": "keys/adyen-api.key",
    "webhook_key_file": "keys/adyen-webhook.key",
    "merchant_account": MERCHANT_ACCOUNT,
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A zone's data with every key file that the entries name."""
    (tmp_path / "keys").mkdir()
    for name, secret in SECRETS.items():
        secret_file(tmp_path / "keys" / name, secret)
    return tmp_path


def settings_of(data: Path, environment: str = DEVELOPMENT, url: str | None = None) -> ZoneSettings:
    return ZoneSettings(
        data=data,
        environment=environment,
        database_url="sqlite://",
        capture_host="127.0.0.1",
        capture_port=8701,
        capture_url="http://127.0.0.1:8701",
        internal_host="127.0.0.1",
        internal_port=8702,
        processor_url=url,
        charge_timeout_seconds=10,
    )


def opened(data: Path, *entries: object, environment: str = DEVELOPMENT, url: str | None = None) -> Processors:
    """The processors that the file names."""
    (data / PROCESSORS_FILE).write_text(json.dumps({"processors": entries}), encoding="utf-8")
    return open_processors(settings_of(data, environment, url))


async def test_each_kind_is_opened_under_its_own_name_the_first_as_the_default(data: Path) -> None:
    second = {**STRIPE, "name": "stripe_eu", "api_key_file": "keys/second-api.key", "multiple_captures": True}
    processors = opened(data, STRIPE, second, ADYEN, {**SANDBOX, "url": HERE})
    assert list(processors.names) == ["stripe", "stripe_eu", "adyen", "sandbox"]
    assert processors.default.name == "stripe"
    kinds = [type(processors.get(name)) for name in processors.names]
    assert kinds == [StripeProcessor, StripeProcessor, AdyenProcessor, SandboxProcessor]
    assert processors.has("stripe_eu", Feature.MULTIPLE_CAPTURES)
    assert not processors.has("stripe", Feature.MULTIPLE_CAPTURES)
    await processors.close()


async def test_a_live_account_is_opened_in_production(data: Path) -> None:
    live = {**STRIPE, "api_key_file": "keys/live-api.key"}
    processors = opened(data, live, {**ADYEN, "live_endpoint_prefix": PREFIX}, environment=PRODUCTION)
    assert not processors.is_sandbox
    await processors.close()


async def test_without_the_file_the_sandbox_is_the_only_one_and_production_has_none(data: Path) -> None:
    processors = open_processors(settings_of(data, url=HERE))
    assert list(processors.names) == ["sandbox"]
    await processors.close()
    with pytest.raises(SettingsRefused, match="the sandbox is for development"):
        open_processors(settings_of(data, PRODUCTION, url=HERE))


async def test_a_sandbox_beside_others_takes_the_address_of_the_command_line(data: Path) -> None:
    processors = opened(data, STRIPE, SANDBOX, url=HERE)
    assert list(processors.names) == ["stripe", "sandbox"]
    await processors.close()


async def test_routing_knows_the_names_of_the_file_and_no_others(data: Path) -> None:
    processors = opened(data, STRIPE, ADYEN)
    path = data / "routing.json"
    path.write_text(json.dumps({"default": ["adyen", "stripe"]}), encoding="utf-8")
    assert RoutingPolicy.read(path, processors.names).default == ("adyen", "stripe")
    path.write_text(json.dumps({"default": ["sandbox"]}), encoding="utf-8")
    with pytest.raises(SettingsRefused, match="processors are some of stripe, adyen"):
        RoutingPolicy.read(path, processors.names)
    await processors.close()


Change = Callable[[list[Any]], None]


def put(at: int, **settings: Any) -> Change:
    """Writes settings into an entry."""
    return lambda entries: entries[at].update(settings)


def drop(at: int, setting: str) -> Change:
    return lambda entries: entries[at].pop(setting)


def alone(entry: object) -> Change:
    """Makes an entry the only one."""

    def change(entries: list[Any]) -> None:
        entries[:] = [entry]

    return change


LIVE: Final[dict[str, Any]] = {**STRIPE, "api_key_file": "keys/live-api.key"}
LIVE_ADYEN: Final[dict[str, Any]] = {**ADYEN, "live_endpoint_prefix": PREFIX}
# What is done to [STRIPE, ADYEN], in which environment, with which --processor-url; and the words that tell the mend.
REFUSALS: Final[list[tuple[Change, str, str | None, str]]] = [
    (alone("stripe"), DEVELOPMENT, None, "each processor is an object with a name"),
    (put(0, name="Stripe"), DEVELOPMENT, None, "each processor is an object with a name"),
    (put(0, name="s" * 21), DEVELOPMENT, None, "each processor is an object with a name"),
    (put(0, name="stripe_4242"), DEVELOPMENT, None, "each processor is an object with a name"),
    (drop(0, "name"), DEVELOPMENT, None, "each processor is an object with a name"),
    (put(0, kind="paypal"), DEVELOPMENT, None, "kind is sandbox, stripe, adyen"),
    (put(0, kind=["stripe"]), DEVELOPMENT, None, "kind is sandbox, stripe, adyen"),
    (put(1, name="stripe"), DEVELOPMENT, None, "two processors have the same name"),
    (put(0, api_key=TEST_KEY), DEVELOPMENT, None, "its settings are some of"),
    (put(0, merchant_account="a"), DEVELOPMENT, None, "its settings are some of"),
    (put(1, multiple_captures=True), DEVELOPMENT, None, "its settings are some of"),
    (put(0, multiple_captures="yes"), DEVELOPMENT, None, "multiple_captures is true"),
    (put(0, api_key_file=TEST_KEY), DEVELOPMENT, None, "api_key_file names a file"),
    (put(0, api_key_file=7), DEVELOPMENT, None, "api_key_file names a file"),
    (drop(0, "webhook_key_file"), DEVELOPMENT, None, "webhook_key_file names a file"),
    (put(0, api_key_file="keys/open.key"), DEVELOPMENT, None, "chmod 600"),
    (
        put(0, api_key_file="keys/stripe-webhook.key"),
        DEVELOPMENT,
        None,
        "what is in its api_key_file is not such a key",
    ),
    (
        put(0, webhook_key_file="keys/stripe-api.key"),
        DEVELOPMENT,
        None,
        "what is in its webhook_key_file is not such a",
    ),
    (
        put(1, webhook_key_file="keys/stripe-api.key"),
        DEVELOPMENT,
        None,
        "what is in its webhook_key_file is not such a",
    ),
    (drop(1, "merchant_account"), DEVELOPMENT, None, "merchant_account is missing"),
    (put(1, live_endpoint_prefix="evil.example/"), PRODUCTION, None, "live_endpoint_prefix is missing or not"),
    (put(0, api_base="https://api.stripe.example"), DEVELOPMENT, None, "api_base is an address on this machine"),
    (put(1, api_base="http://127.0.0.1.example:80"), DEVELOPMENT, None, "api_base is an address on this machine"),
    (put(0, api_base="http://127.0.0.1:x"), DEVELOPMENT, None, "api_base is an address on this machine"),
    (put(0, api_base=HERE), PRODUCTION, None, "api_base is for development"),
    (alone(SANDBOX), DEVELOPMENT, None, "give --processor-url"),
    (alone({**SANDBOX, "url": "http://sandbox.example:80"}), DEVELOPMENT, None, "url is an address on this machine"),
    (alone({**SANDBOX, "url": HERE}), PRODUCTION, None, "the sandbox is for development"),
    (alone(LIVE), DEVELOPMENT, None, "a live account is charged in production only"),
    (alone(LIVE_ADYEN), DEVELOPMENT, None, "a live account is charged in production only"),
    (put(0, api_key_file="keys/live-api.key"), PRODUCTION, None, "live and test accounts do not go together"),
    (put(1, live_endpoint_prefix=PREFIX), PRODUCTION, None, "live and test accounts do not go together"),
    (lambda entries: entries.append({**STRIPE, "name": "again"}), DEVELOPMENT, None, "two names are one account"),
    (lambda entries: entries.append({**ADYEN, "name": "again"}), DEVELOPMENT, None, "two names are one account"),
    (lambda entries: None, DEVELOPMENT, HERE, "leave out --processor-url"),
]


@requirement("6.5.3", "6.5.6", "8.6.2")
@pytest.mark.parametrize(("change", "environment", "url", "words"), REFUSALS)
def test_what_cannot_be_charged_through_is_refused_with_what_to_mend_and_no_secret(
    data: Path, change: Change, environment: str, url: str | None, words: str
) -> None:
    [problem] = refused(data, change, environment, url)
    assert words in problem
    assert problem.startswith(str(data / PROCESSORS_FILE))
    assert "\n" not in problem
    assert not any(secret in problem for secret in SECRETS.values())


def refused(data: Path, change: Change, environment: str, url: str | None, read: Any = open_processors) -> list[str]:
    """The problems of the two entries after the change; none where they are opened."""
    key = data / "keys" / "open.key"
    key.write_text(TEST_KEY, encoding="utf-8")
    key.chmod(0o644)
    entries = copy.deepcopy([STRIPE, ADYEN])
    change(entries)
    (data / PROCESSORS_FILE).write_text(json.dumps({"processors": entries}), encoding="utf-8")
    try:
        read(settings_of(data, environment, url))
    except SettingsRefused as refusal:
        return refusal.problems
    return []


def test_every_problem_is_told_at_once(data: Path) -> None:
    with pytest.raises(SettingsRefused) as refusal:
        opened(data, {**STRIPE, "api_key_file": "x", "webhook_key_file": "y"}, {"name": "other", "kind": "z"})
    assert len(refusal.value.problems) == 3


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"processors": []}', '{"processors": {}}', '{"processors": [{}], "x": 1}']
)
def test_a_file_of_another_form_is_refused(data: Path, content: str) -> None:
    (data / PROCESSORS_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(SettingsRefused) as refusal:
        open_processors(settings_of(data))
    assert len(refusal.value.problems) == 1


@pytest.mark.parametrize(("entry", "extra"), [(STRIPE, "stripe"), (ADYEN, "adyen")])
def test_a_processor_whose_client_is_not_installed_is_refused_with_the_command_that_installs_it(
    data: Path, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any], extra: str
) -> None:
    monkeypatch.setitem(sys.modules, f"vault_zone.processors.{extra}_connector", None)
    with pytest.raises(SettingsRefused) as refusal:
        opened(data, entry)
    [problem] = refusal.value.problems
    assert f"--require-hashes -r deploy/locks/zone-{extra}.txt" in problem
    assert (Path(__file__).parents[3] / "deploy" / "locks" / f"zone-{extra}.txt").is_file()


def test_a_zone_without_the_extras_is_imported_whole() -> None:
    without = (
        "import sys; sys.modules['stripe'] = sys.modules['Adyen'] = None; import vault_zone.serve, vault_zone.cli.main"
    )
    done = subprocess.run([sys.executable, "-c", without], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _guards() -> list[int]:
    """The lines of opening.py at which something is refused, or not."""
    tree = ast.parse(Path(opening.__file__).read_text(encoding="utf-8"))
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and "self._refuse(" in ast.unparse(node.value)
    ]


class _Silenced(ast.NodeTransformer):
    """Takes one refusal out."""

    def __init__(self, line: int | None) -> None:
        self._line = line

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        return ast.copy_location(ast.Pass(), node) if node.lineno == self._line else node


@pytest.mark.parametrize("line", [None, *_guards()])
def test_no_planted_gap_in_the_refusals_goes_unseen(
    data: Path, monkeypatch: pytest.MonkeyPatch, line: int | None
) -> None:
    tree = ast.parse(Path(opening.__file__).read_text(encoding="utf-8"))
    gapped: dict[str, Any] = {"__name__": "gapped"}
    monkeypatch.setitem(sys.modules, "gapped", type(sys)("gapped"))
    exec(compile(ast.fix_missing_locations(_Silenced(line).visit(tree)), opening.__file__, "exec"), gapped)
    read = gapped["open_processors"]
    as_it_should = all(outcome(data, *case, read) for case in REFUSALS)
    for extra, entry in (("stripe", STRIPE), ("adyen", ADYEN)):
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, f"vault_zone.processors.{extra}_connector", None)
            as_it_should &= outcome(data, alone(entry), DEVELOPMENT, None, "not installed", read)
    assert as_it_should is (line is None)


def outcome(data: Path, change: Change, environment: str, url: str | None, words: str, read: Any) -> bool:
    """Whether a case is refused as it has to be."""
    try:
        problems = refused(data, change, environment, url, read)
    except Exception:  # noqa: BLE001  # the connector stumbles over what should have been refused
        return False
    return len(problems) == 1 and words in problems[0]
