"""The zone's bills of materials are what its locks say and valid; each direct dependency has its reason."""

import json
import re
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.bills import OUT, WANTED, NotInstalled, bill, bills, locked
from tests.architecture.repository import ROOT, deployables, distribution, entries, lock
from tests.requirement import requirement

NAMES = tuple(WANTED)
TABLE = ROOT / "docs" / "zone-dependencies.md"
_ROW = re.compile(r"^\| ([a-z0-9-]+)(?: \(extra `([a-z0-9]+)`\))? \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def committed(name: str) -> dict[str, Any]:
    """A bill of materials as it lies in the repository."""
    read: dict[str, Any] = json.loads((OUT / f"{name}.cdx.json").read_text(encoding="utf-8"))
    return read


@requirement("6.3.2")
def test_the_bills_of_materials_are_what_the_locks_say() -> None:
    written = {path.name: path.read_text(encoding="utf-8") for path in OUT.iterdir()}
    assert written == bills()


@requirement("6.3.2")
@pytest.mark.parametrize("name", NAMES)
def test_a_bill_names_every_locked_distribution_with_its_hashes_and_its_licence(name: str) -> None:
    components = {component["name"]: component for component in committed(name)["components"]}
    assert components.keys() == entries(lock(name)).keys()
    assert sum(len(component["hashes"]) for component in components.values()) == lock(name).count("--hash=sha256:")
    assert [name for name, component in components.items() if not component.get("licenses")] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_bill_is_valid_and_holds_no_time_and_no_address(name: str) -> None:
    text = (OUT / f"{name}.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert '"timestamp"' not in text
    assert [address for address in re.findall(r"https?://[^\"]+", text) if "cyclonedx.org" not in address] == []


@pytest.mark.parametrize("name", NAMES)
def test_everything_in_a_bill_is_needed_by_something_in_it(name: str) -> None:
    content = committed(name)
    needed = {ref for dependency in content["dependencies"] for ref in dependency.get("dependsOn", ())}
    assert {component["bom-ref"] for component in content["components"]} == needed


def test_a_lock_with_another_version_hash_or_distribution_gives_another_bill() -> None:
    text = lock("zone")
    direct = deployables()["zone"]["dependencies"]
    first_hash = re.search(r"sha256:[0-9a-f]{64}", text)
    assert first_hash is not None
    changed = bill(text.replace(first_hash[0], "sha256:" + "0" * 64, 1), direct, "zone")
    grown = bill(text + "h2==9.9.9 \\\n    --hash=sha256:" + "0" * 64 + "\n", direct, "zone")
    assert len({bill(text, direct, "zone"), changed, grown}) == 3
    with pytest.raises(NotInstalled):
        bill(re.sub(r"^uvicorn==\S+", "uvicorn==0.0.1", text, flags=re.MULTILINE), direct, "zone")


def test_every_entry_of_a_lock_is_read() -> None:
    assert locked(lock("zone")).keys() == entries(lock("zone")).keys()
    assert [entry.name for entry in locked(lock("zone")).values() if not entry.hashes] == []


def unexplained(table: str) -> set[str]:
    """Direct dependencies without a row, rows without a dependency, and rows that name a file that does not import it."""
    zone = deployables()["zone"]
    wanted = {(distribution(text), "") for text in zone["dependencies"]}
    wanted |= {(distribution(text), extra) for extra, texts in zone["extras"].items() for text in texts}
    rows = [row for row in _ROW.findall(table) if row[0] != "distribution"]
    explained = {(name, extra) for name, extra, *_ in rows}
    faults = {name for name, _ in wanted ^ explained}
    for name, _, reason, imported_by, _ in rows:
        file = re.fullmatch(r"`(\w+/[\w/]+\.py)`", imported_by.strip())
        module = name.replace("-", "_")
        is_imported = file is None or re.search(
            rf"^\s*(?:from|import) {module}\b", (ROOT / file[1]).read_text(encoding="utf-8"), re.MULTILINE
        )
        faults |= set() if is_imported and reason.strip() else {name}
    return faults


@requirement("6.3.2")
def test_every_direct_dependency_of_the_zone_has_its_reason() -> None:
    assert unexplained(TABLE.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("was", "planted", "found"),
    [
        ("| httpx | ", "| httpx2 | ", {"httpx", "httpx2"}),
        ("`vault_zone/pages/render.py`", "`vault_zone/card.py`", {"jinja2"}),
        ("(extra `vault`)", "(extra `pkcs11`)", {"hvac"}),
    ],
)
def test_a_missing_or_wrong_reason_is_seen(was: str, planted: str, found: set[str]) -> None:
    assert unexplained(TABLE.read_text(encoding="utf-8").replace(was, planted)) == found
