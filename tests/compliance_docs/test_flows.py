"""The data flows: complete against the code, the tables and the lifetimes, and card data only where it belongs."""

import ast
from dataclasses import fields, replace
from pathlib import Path

import pytest
from sqlalchemy import MetaData

import commerce_api.models
import vault_zone.models
from commerce_api.idempotency import KEEP_SECONDS
from commerce_api.memory.consents import WITHDRAWN_KEPT_SECONDS
from commerce_api.offering.model_calls import KEPT_SECONDS as MODEL_CALLS_KEPT_SECONDS
from compliance_docs.flows import (
    ACCOUNT_DATA,
    FLOWS,
    PLACES,
    STORES,
    Data,
    Flow,
    Side,
    carries_account_data,
    misplaced_account_data,
)
from tests.requirement import requirement
from vault_zone.capture import GRANT_LIFETIME_SECONDS, RECORD_LIFETIME_SECONDS
from vault_zone.card import Card, CardField
from vault_zone.processors.port import ProcessorCharge
from vault_zone.retention import CONSENT_KEPT_MS, SETTLEMENT_LINE_KEPT_MS
from vault_zone.security_codes import LIFETIME_SECONDS

ROOT = Path(__file__).parents[2]
PACKAGES = ("vault_zone", "commerce_api", "mcp_server", "offer_engine", "tokenization", "audit", "compliance_docs")
# Calls that open a connection or a listener, by their last name, and those whose names are too common without their module,
# whatever a file calls the module.
CONNECTING = (
    "AsyncClient create_async_engine create_engine build_opener urlopen open_connection open_unix_connection "
    "create_connection create_datagram_endpoint start_server create_server HTTPConnection HTTPSConnection ClientSession"
)
CONNECTING_OF = frozenset(
    {
        ("httpx", "Client"),
        ("httpx", "get"),
        ("httpx", "post"),
        ("httpx", "request"),
        ("httpx", "stream"),
        *(
            ("requests", name)
            for name in ("Session", "session", "request", "get", "post", "put", "patch", "delete", "head")
        ),
        ("hvac", "Client"),
        ("pkcs11", "lib"),
        ("grpc", "insecure_channel"),
        ("grpc", "secure_channel"),
        ("uvicorn", "Config"),
        ("uvicorn", "run"),
        ("socket", "socket"),
        ("asyncpg", "connect"),
        ("asyncpg", "create_pool"),
        ("psycopg", "connect"),
        ("smtplib", "SMTP"),
    }
)
FORBIDDEN_COLUMNS = ("cvc", "cvv", "cid", "track", "pin", "pan", "number", "fingerprint")
SECONDS = {
    "zone's memory: security code": LIFETIME_SECONDS,
    "zone's database: cards": RECORD_LIFETIME_SECONDS,
    "zone's database: grants": GRANT_LIFETIME_SECONDS,
    "zone's database: saved cards' consents": CONSENT_KEPT_MS // 1000,
    "zone's database: processors' reports": SETTLEMENT_LINE_KEPT_MS // 1000,
    "commerce's database: what shoppers let be remembered": WITHDRAWN_KEPT_SECONDS,
    "commerce's database: calls of language models": MODEL_CALLS_KEPT_SECONDS,
    "commerce's database: repeated requests": KEEP_SECONDS,
}


def connects(source: str) -> bool:
    """Whether a module opens a connection or a listener."""
    tree = ast.parse(source)
    imported = _imported(tree)
    return any(_is_connecting(node.func, imported) for node in ast.walk(tree) if isinstance(node, ast.Call))


def _imported(tree: ast.AST) -> dict[str, str]:
    """What the names that a module imports stand for, dotted."""
    names = dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _is_connecting(called: ast.expr, imported: dict[str, str]) -> bool:
    attribute = called.attr if isinstance(called, ast.Attribute) else None
    owner = called.value if isinstance(called, ast.Attribute) else called
    if not isinstance(owner, ast.Name):
        return attribute in CONNECTING.split()
    full = imported.get(owner.id, owner.id) + (f".{attribute}" if attribute else "")
    module, _, name = full.rpartition(".")
    return name in CONNECTING.split() or (module.partition(".")[0], name) in CONNECTING_OF


def connecting_files(package: str) -> set[str]:
    """The files of a package that connect or listen."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / package).rglob("*.py")
        if connects(path.read_text(encoding="utf-8"))
    }


def named_files(flows: tuple[Flow, ...]) -> set[str]:
    """The files that flows name."""
    return {path for flow in flows for path in flow.code}


def tables(side: str, metadata: MetaData) -> set[str]:
    """The tables of a side as stores name them."""
    return {f"{side}.{name}" for name in metadata.tables}


ALL_TABLES = tables("zone", vault_zone.models.metadata) | tables("commerce", commerce_api.models.metadata)


@requirement("1.2.3", "1.2.5", "1.3.2")
def test_every_file_that_connects_or_listens_is_named_by_a_flow() -> None:
    connecting = set().union(*map(connecting_files, PACKAGES))
    assert connecting - named_files(FLOWS) == set()
    assert connecting, "the search found nothing at all"


@requirement("1.2.3")
@pytest.mark.parametrize(
    "planted",
    [
        "import httpx\nasync def leak():\n    async with httpx.AsyncClient() as client: ...\n",
        "import httpx\nhttpx.post('https://models.example', content=b'')\n",
        "import asyncio\nasync def leak():\n    await asyncio.open_connection('models.example', 443)\n",
        "from socket import create_connection\ncreate_connection(('models.example', 443))\n",
        "import urllib.request\nurllib.request.urlopen('https://models.example')\n",
        "import requests\nsession = requests.Session()\n",
        "import requests as r\nr.post('https://models.example')\n",
        "from requests.sessions import Session as Talk\nTalk().get('https://models.example')\n",
        "import hvac\nhvac.Client(url='https://vault.example')\n",
        "from hvac import Client\nClient(url='https://vault.example')\n",
        "import pkcs11\npkcs11.lib('/usr/lib/network-hsm.so')\n",
        "from httpx import Client\nClient().get('https://models.example')\n",
    ],
)
def test_a_planted_connection_is_found_by_the_same_check(planted: str) -> None:
    assert connects(planted)
    assert not connects("import httpx\n\ndef status(answer: httpx.Response) -> int:\n    return answer.status_code\n")
    assert not connects("import hvac\n\ndef token(client: hvac.Client) -> str:\n    return str(client.token)\n")
    assert not connects("import queue\n\ndef get(session: dict) -> object:\n    return session.get('requests')\n")


def test_files_that_flows_and_stores_name_exist() -> None:
    named = named_files(FLOWS) | {path for store in STORES for path in store.code}
    assert {path for path in named if not (ROOT / path).is_file()} == set()


@requirement("1.3.2")
def test_the_zone_connects_to_its_database_its_processor_and_its_key_provider_alone() -> None:
    sandbox_itself = "vault_zone/processors/sandbox_server/"
    own = {path for path in connecting_files("vault_zone") if not path.startswith(sandbox_itself)}
    # The commands of operators are a program of their own, which connects to the zone.
    commands = {"vault_zone/cli/zone_client.py"}
    assert own - commands == {
        "vault_zone/processors/sandbox.py",
        "vault_zone/processors/stripe_transport.py",
        "vault_zone/processors/adyen_transport.py",
        "vault_zone/forward/sending.py",
        "vault_zone/hazmat/vault_session.py",
        "vault_zone/hazmat/pkcs11_token.py",
        "vault_zone/outbox_courier.py",
        "vault_zone/serve.py",
        "vault_zone/listeners.py",
    }


@requirement("1.2.4", "3.6.1.4", "12.5.1", "12.5.2")
def test_every_table_is_in_one_store() -> None:
    stored = [table for store in STORES for table in store.tables]
    assert sorted(stored) == sorted(ALL_TABLES)


@requirement("1.2.4", "3.2.1")
def test_stated_lifetimes_are_those_of_the_code() -> None:
    assert {store.where: store.seconds for store in STORES if store.seconds is not None} == SECONDS


@requirement("1.4.4", "3.5.1")
def test_card_data_is_stored_in_the_zone_alone() -> None:
    holding = {store.where: store.side for store in STORES if store.data in ACCOUNT_DATA}
    assert set(holding.values()) == {Side.ZONE}
    assert [table for store in STORES if store.data in ACCOUNT_DATA for table in store.tables] == ["zone.card_record"]


@requirement("3.3.1.2", "3.5.1.1")
def test_no_column_is_named_for_a_code_a_track_or_a_number() -> None:
    columns = {
        f"{table.name}.{column.name}"
        for metadata in (vault_zone.models.metadata, commerce_api.models.metadata)
        for table in metadata.tables.values()
        for column in table.columns
        if any(word in column.name.split("_") for word in FORBIDDEN_COLUMNS)
    }
    # Keyed digests: of a request in either side's idempotency, and of a card inside the zone (PCI DSS 3.5.1.1).
    assert columns == {"idempotency.fingerprint", "card_record.fingerprint", "card_record.fingerprint_key_id"}


@requirement("3.3.1.1", "3.3.1.3")
def test_of_a_card_five_fields_are_taken_and_no_others() -> None:
    of_a_page = {"number", "expiry", "cvc", "name", "postal_code"}
    assert {field.value for field in CardField} == of_a_page | {
        "cryptogram"
    }  # a network token's, for one authorization
    assert set(Card.__slots__) == {"pan", "expiry", "name", "postal_code"}
    assert {field.name for field in fields(ProcessorCharge)} == {
        "reference",
        "merchant",
        "amount",
        "card",
        "cvc",
        "cryptogram",
        "return_url",
        "capture",
        "initiator",
        "initial_network_reference",
        "device",  # what the browser said for 3-D Secure: nothing of the card
    }


@requirement("1.2.4", "12.5.2", "12.8.1")
def test_account_data_moves_between_shopper_zone_and_processor_alone() -> None:
    assert misplaced_account_data(FLOWS) == []
    assert {(flow.source, flow.target) for flow in FLOWS if carries_account_data(flow)} == {
        ("shopper", "zone"),
        ("platform", "zone"),
        ("wallet_server", "zone"),
        ("zone", "processor"),
        ("zone", "zone_db"),
    }


@requirement("12.8.1")
@pytest.mark.parametrize(
    ("source", "target"), [("zone", "assistant"), ("assistant", "mcp"), ("shopper", "commerce"), ("zone", "commerce")]
)
def test_a_planted_flow_of_cards_to_a_model_is_found_by_the_same_check(source: str, target: str) -> None:
    planted = replace(FLOWS[0], source=source, target=target, data=Data.CARD)
    assert misplaced_account_data((*FLOWS, planted)) == [f"{source} → {target}: card number"]


@requirement("7.2.6", "10.2.1.1")
def test_only_the_charge_engine_and_the_forward_engine_open_a_card() -> None:
    opening = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if _imports(path, "vault_zone.vault", "open_card")
    }
    assert opening == {"vault_zone/charge.py", "vault_zone/forward/engine.py"}


def test_a_number_is_exposed_for_sealing_and_for_the_processor_alone() -> None:
    exposing = {
        path.relative_to(ROOT / "vault_zone").as_posix()
        for path in (ROOT / "vault_zone").rglob("*.py")
        if _imports(path, "vault_zone.card", "Exposure")
    }
    assert exposing == {
        "vault.py",
        "security_codes.py",
        "fingerprint.py",
        "rekeying.py",
        "routing.py",  # the first eight digits, to choose the processor
        "processors/sandbox.py",
        "processors/stripe_connector.py",
        "processors/adyen_connector.py",
        "forward/placeholders.py",
    }


def test_every_place_takes_part_and_every_flow_joins_two_known_places() -> None:
    known = {place.id for place in PLACES}
    assert {flow.source for flow in FLOWS} | {flow.target for flow in FLOWS} == known
    assert len(known) == len(PLACES)


def _imports(path: Path, module: str, name: str) -> bool:
    return any(
        isinstance(node, ast.ImportFrom) and node.module == module and any(alias.name == name for alias in node.names)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )
