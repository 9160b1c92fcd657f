"""The import contracts hold, and so does what import-linter cannot see: dynamic imports, new packages, unlisted importers."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.checks import Check, dynamic_imports, imports_of
from tests.architecture.repository import HOLDS, PACKAGES, ROOT, UNSHIPPED, Source, deployables, pyproject, sources

CONTRACTS = pyproject()["tool"]["importlinter"]["contracts"]
MAY_IMPORT_CRYPTOGRAPHY = ("vault_zone/hazmat/", "audit/note.py")
# The zone is imported by itself and by these; everybody else speaks to it over TLS.
MAY_IMPORT_THE_ZONE = (
    "vault_zone/",
    "tests/vault_zone/",
    "benchmarks/charge.py",  # measures the zone's own parts
    "benchmarks/keys.py",
    "benchmarks/ledger.py",  # measures the zone's own parts
    "benchmarks/no_oracle.py",  # as above
    "benchmarks/lost_replies.py",  # as above
    "benchmarks/stored_cards.py",  # as above
    "benchmarks/tokenise.py",  # as above
    "benchmarks/zone_server.py",  # as above
    "tests/compliance_docs/",  # compares what the documents claim with the zone's own tables
    "tests/journeys/",  # runs zone and commerce in one process
    "tests/simulation/",  # likewise, with a clock and a network of its own
)


def python_packages(root: Path) -> set[str]:
    """The top-level folders of a checkout that can be imported."""
    return {path.parent.name for path in root.glob("*/__init__.py")}


def outside(check: Check, files: list[Source], allowed: tuple[str, ...]) -> list[str]:
    """What a check finds in the files whose path does not begin with one of the allowed ones."""
    return [fault for file in files if not file.path.startswith(allowed) for fault in check(file)]


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """import-linter's verdict on a checkout."""
    command = [str(Path(sys.executable).parent / "lint-imports")]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_every_package_is_linted_and_shipped() -> None:
    assert python_packages(ROOT) - set(UNSHIPPED) == set(PACKAGES)
    assert set(pyproject()["tool"]["importlinter"]["root_packages"]) == set(PACKAGES)
    assert {name: sorted(table["packages"]) for name, table in deployables().items()} == {
        name: sorted(packages) for name, packages in HOLDS.items()
    }


def test_a_new_package_is_seen(tmp_path: Path) -> None:
    (tmp_path / "side_door").mkdir()
    (tmp_path / "side_door" / "__init__.py").touch()
    assert python_packages(tmp_path) == {"side_door"}


def test_the_import_contracts_hold() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


# One fault for each way around the wall: the package it is planted in, what is planted, and the contract that must break.
FAULTS = [
    ("commerce_api", "def late():\n    import vault_zone.vault", "zone-is-sealed"),
    ("commerce_api", "if TYPE_CHECKING:\n    import vault_zone", "zone-is-sealed"),
    ("vault_zone", "import offer_engine", "zone-never-reaches-out"),
    ("compliance_docs", "import commerce_api", "auditor-stands-alone"),
    ("vault_zone", "import openai", "no-model-near-cards"),
    ("tokenization", "import anthropic", "no-model-near-cards"),
    ("audit", "import mcp.types", "no-model-near-cards"),
    ("audit", "import mcp_server", "leaves"),
    ("tokenization", "import audit", "leaves-apart"),
    ("offer_engine", "import commerce_api", "direction"),
    ("vault_zone", "import cryptography.x509", "cryptography-in-hazmat"),
    ("commerce_api", "import offer_engine.models.pydantic_ai", "agent-framework-is-optional"),
    ("offer_engine", "import pydantic_ai.agent", "agent-framework-in-one-file"),
]


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What import-linter says of a copy in which every fault is planted: its account of each contract, by id."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", root)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for number, (package, fault, _) in enumerate(FAULTS):
        (root / package / f"planted_{number}.py").write_text(f"{fault}\n", encoding="utf-8")
    done = lint_imports(root)
    assert done.returncode == 1
    accounts = done.stdout.split("Broken contracts", maxsplit=1)[1]
    return {contract["id"]: account_of(contract["name"], accounts) for contract in CONTRACTS}


def account_of(contract: str, accounts: str) -> str:
    """The part of import-linter's report that explains one broken contract, or an empty text."""
    _, found, after = accounts.partition(f"{contract}\n{'-' * len(contract)}\n")
    return re.split(r"\n-{8,}\n", after)[0] if found else ""


@pytest.mark.parametrize(("number", "contract"), [(i, fault[2]) for i, fault in enumerate(FAULTS)])
def test_each_import_contract_catches_what_it_forbids(verdict: dict[str, str], number: int, contract: str) -> None:
    assert f".planted_{number} " in verdict[contract], verdict[contract]


def test_every_import_contract_has_a_planted_fault() -> None:
    assert {contract for _, _, contract in FAULTS} == {contract["id"] for contract in CONTRACTS}


def test_no_dynamic_import_hides_an_edge() -> None:
    assert outside(dynamic_imports, sources(*PACKAGES), ()) == []


@pytest.mark.parametrize(
    "planted",
    [
        'import importlib\nimportlib.import_module("vault_zone")',
        'from importlib import import_module\nimport_module("vault_zone")',
        '__import__("vault_zone")',
        'import builtins\nbuiltins.__import__("vault_zone")',
        'exec("import vault_zone")',
        'def f():\n    return eval("1")',
        'import runpy\nrunpy.run_module("vault_zone")',
    ],
)
def test_a_dynamic_import_is_seen(planted: str) -> None:
    assert len(dynamic_imports(Source("planted.py", planted))) == 1


def test_only_hazmat_and_the_log_s_signatures_import_cryptography() -> None:
    check = imports_of("cryptography")
    assert outside(check, sources(*PACKAGES), MAY_IMPORT_CRYPTOGRAPHY) == []
    for allowed in MAY_IMPORT_CRYPTOGRAPHY:
        assert any(check(file) for file in sources(*PACKAGES) if file.path.startswith(allowed)), "nothing needs this"


def test_nobody_but_its_own_tests_imports_the_zone() -> None:
    assert outside(imports_of("vault_zone"), sources(*PACKAGES, *UNSHIPPED), MAY_IMPORT_THE_ZONE) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import vault_zone",
        "import vault_zone.vault as v",
        "from vault_zone import vault",
        "from vault_zone.card import Pan",
        "def late():\n    from vault_zone.card import Pan",
    ],
)
def test_an_import_of_the_zone_is_seen(planted: str) -> None:
    file = Source("examples/planted.py", planted)
    assert len(outside(imports_of("vault_zone"), [file], MAY_IMPORT_THE_ZONE)) == 1
    assert imports_of("vault")(file) == []
    assert (
        outside(imports_of("vault_zone"), [Source("tests/vault_zone/planted.py", planted)], MAY_IMPORT_THE_ZONE) == []
    )
