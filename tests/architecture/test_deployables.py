"""Each wheel installs alone: there it cannot reach what it must not hold, and its lock is all that it needs."""

import shutil
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from tests.architecture.repository import HOLDS, MODEL_SDKS, PACKAGES, ROOT, deployables, distribution
from tests.architecture.wheels import (
    build,
    environment,
    in_environment,
    install_lock,
    install_wheel,
    is_unreachable,
    modules_in,
    names_in,
    run,
)

LACKS = {
    "zone": ["commerce_api", "mcp_server", "offer_engine", "compliance_docs"],
    "commerce": ["vault_zone"],
    "auditor": ["vault_zone", "commerce_api", "mcp_server", "offer_engine"],
}
PROGRAMS = {
    "zone": {"vault-zone", "cordon-audit"},
    "commerce": {"cordon", "cordon-mcp", "cordon-audit", "offer-engine"},
    "auditor": {"cordon-audit"},
}
# What only a deployment with that extra imports: a key provider, a processor or an agent framework with a library of its own.
OF_EXTRAS = {
    *("vault_zone.hazmat.pkcs11_token", "vault_zone.hazmat.vault_session", "vault_zone.hazmat.vault_transit"),
    *(f"vault_zone.processors.stripe_{part}" for part in ("connector", "objects", "transport", "webhooks")),
    *(f"vault_zone.processors.adyen_{part}" for part in ("connector", "webhooks")),
    "offer_engine.models.pydantic_ai",
}
PLANTED = ["vault_zone/.env", "vault_zone/dev.key", "commerce_api/.env", "audit/log.key", "audit/card.pem"]
# What a wheel needs besides Python: missing, it shows only when the page is asked for.
ASSETS = {
    "zone": [
        *("vault_zone/pages/card.html", "vault_zone/pages/card.css", "vault_zone/pages/card.js"),
        *("vault_zone/migrations/script.py.mako", "vault_zone/migrations/versions/0001_first_tables.py"),
        *("vault_zone/processors/sandbox_server/templates/acs.html", "vault_zone/py.typed"),
    ],
    "commerce": [
        *("commerce_api/pages/review.html", "commerce_api/pages/checkout.css", "commerce_api/py.typed"),
        *("offer_engine/judging/report.html", "offer_engine/judging/report.css"),
        *("commerce_api/migrations/script.py.mako", "commerce_api/migrations/versions/0001_first_tables.py"),
    ],
    "auditor": ["audit/py.typed", "compliance_docs/py.typed"],
}
NOT_SHIPPED = {".pyc", ".key", ".pem", ".env", ".sqlite3", ".log", ""}  # suffixes of files that no wheel should want


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what wheels are built from, with secrets lying about in it."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "deployables.py", "README.md"):
        shutil.copy(ROOT / name, root)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in PLANTED:
        (root / name).write_text("SECRET=1\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def wheels(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of each deployable."""
    out = tmp_path_factory.mktemp("wheels") / "dist"
    for name in HOLDS:
        done = build(name, checkout, out)
        assert done.returncode == 0, done.stderr
    return {name: next(out.glob(f"cordon-*+{name}-py3-none-any.whl")) for name in HOLDS}


@pytest.fixture(scope="module")
def alone(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each deployable, the interpreter of an environment that holds its wheel and nothing else."""
    pythons = {name: environment(tmp_path_factory.mktemp(name) / "venv") for name in wheels}
    for name, python in pythons.items():
        install_wheel(python, wheels[name])
    return pythons


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the environment that becomes each deployable's in turn: what two locks share is compiled once."""
    return environment(tmp_path_factory.mktemp("locked") / "venv")


@pytest.fixture(scope="module", params=["commerce", "zone", "auditor"])
def complete(request: pytest.FixtureRequest, wheels: dict[str, Path], locked: Path) -> tuple[str, Path]:
    """A deployable, and the interpreter of an environment that holds its wheel and its lock and nothing else."""
    install_lock(locked, request.param)
    install_wheel(locked, wheels[request.param])
    return request.param, locked


@pytest.mark.parametrize(("name", "package"), [(n, p) for n in LACKS for p in LACKS[n]])
def test_a_wheel_cannot_import_what_lies_outside(
    alone: dict[str, Path], name: str, package: str, tmp_path: Path
) -> None:
    done = in_environment(alone[name], f"import {package}", tmp_path)
    assert done.stderr.endswith(f"ModuleNotFoundError: No module named '{package}'\n")


@pytest.mark.parametrize(("name", "package"), [(n, p) for n in HOLDS for p in HOLDS[n]])
def test_a_wheel_holds_its_own_packages(alone: dict[str, Path], name: str, package: str, tmp_path: Path) -> None:
    done = in_environment(alone[name], f"import {package}; print({package}.__file__)", tmp_path)
    assert done.stderr == ""
    assert Path(done.stdout.strip()).is_relative_to(alone[name].parents[1])


def test_what_a_wheel_lacks_and_holds_is_everything() -> None:
    for name in HOLDS:
        assert sorted(HOLDS[name] + LACKS[name]) == PACKAGES


def test_a_package_added_to_the_zone_s_wheel_would_be_noticed(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(checkout, tmp_path / "copy")
    pyproject = tmp_path / "copy" / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    widened = text.replace(
        '["vault_zone", "tokenization", "audit"]', '["vault_zone", "tokenization", "audit", "mcp_server"]'
    )
    assert widened != text
    pyproject.write_text(widened, encoding="utf-8")
    assert build("zone", tmp_path / "copy", tmp_path / "dist").returncode == 0
    [wheel] = (tmp_path / "dist").glob("*.whl")
    python = environment(tmp_path / "venv")
    install_wheel(python, wheel)
    assert in_environment(python, "import mcp_server", tmp_path).stderr == ""


@pytest.mark.parametrize("name", HOLDS)
def test_a_wheel_ships_its_assets_and_no_secret(wheels: dict[str, Path], name: str) -> None:
    names = names_in(wheels[name])
    files = [file for file in names if ".dist-info/" not in file]
    assert {file.split("/")[0] for file in files} == set(HOLDS[name])
    assert set(ASSETS[name]) <= set(files)
    assert not set(PLANTED) & set(names)
    assert [file for file in files if Path(file).suffix in NOT_SHIPPED] == []


def test_a_hook_that_ships_whatever_lies_about_would_be_noticed(checkout: Path, tmp_path: Path) -> None:
    shutil.copytree(checkout, tmp_path / "copy")
    hook = tmp_path / "copy" / "deployables.py"
    text = hook.read_text(encoding="utf-8")
    careless = text.replace("path.suffix in SHIPPED_SUFFIXES", "path.is_file()")
    assert careless != text
    hook.write_text(careless, encoding="utf-8")
    assert build("zone", tmp_path / "copy", tmp_path / "dist").returncode == 0
    [wheel] = (tmp_path / "dist").glob("*.whl")
    assert {"vault_zone/.env", "vault_zone/dev.key", "audit/log.key"} <= set(names_in(wheel))


@pytest.mark.parametrize("name", HOLDS)
def test_a_wheel_leaves_no_file_of_its_packages_behind_but_the_secrets(
    checkout: Path, wheels: dict[str, Path], name: str
) -> None:
    there = {
        path.relative_to(checkout).as_posix()
        for package in HOLDS[name]
        for path in (checkout / package).rglob("*")
        if path.is_file()
    }
    # A suffix that deployables.py does not list is silent: the file is just not there.
    assert there - set(names_in(wheels[name])) == {file for file in PLANTED if file.split("/")[0] in HOLDS[name]}


@pytest.mark.parametrize("name", HOLDS)
def test_a_wheel_asks_for_its_own_dependencies_and_offers_its_own_programs(wheels: dict[str, Path], name: str) -> None:
    with zipfile.ZipFile(wheels[name]) as archive:
        [metadata] = [file for file in archive.namelist() if file.endswith(".dist-info/METADATA")]
        headers = HeaderParser().parsestr(archive.read(metadata).decode())
        programs = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    asked = {distribution(line) for line in headers.get_all("Requires-Dist", [])}
    extras = [line for needs in deployables()[name].get("extras", {}).values() for line in needs]
    assert asked == {distribution(line) for line in [*deployables()[name]["dependencies"], *extras]}
    assert {line.split(" = ")[0] for line in programs.splitlines() if " = " in line} == PROGRAMS[name]
    if name != "commerce":
        assert not asked & {*MODEL_SDKS, "rich"}


@pytest.mark.parametrize("name", ["zonne", "vault_zone", "zone,commerce"])
def test_an_unknown_deployable_is_no_wheel(checkout: Path, tmp_path: Path, name: str) -> None:
    assert build(name, checkout, tmp_path / "dist").returncode != 0
    assert list(tmp_path.rglob("*.whl")) == []


def test_a_lock_is_all_that_its_deployable_needs(
    complete: tuple[str, Path], wheels: dict[str, Path], tmp_path: Path
) -> None:
    name, python = complete
    modules = [module for module in modules_in(wheels[name]) if module not in OF_EXTRAS]
    assert len(modules) > len(HOLDS[name])
    done = in_environment(python, f"import importlib\nfor name in {modules}: importlib.import_module(name)", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_programs_of_a_deployable_run_and_no_others_are_there(complete: tuple[str, Path], tmp_path: Path) -> None:
    name, python = complete
    ours = set().union(*PROGRAMS.values())
    assert {path.name for path in python.parent.iterdir()} & ours == PROGRAMS[name]
    for program in PROGRAMS[name]:
        done = run(python.parent / program, "--help", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert program in done.stdout


def test_a_missing_dependency_would_be_noticed(alone: dict[str, Path], tmp_path: Path) -> None:
    done = in_environment(alone["zone"], "import vault_zone.runtime", tmp_path)
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("complaint", "unreachable"),
    [
        ("error: Failed to fetch: `https://index.example/simple/uvloop/`\n  Caused by: dns error", True),
        ("error: Request failed after 3 retries\n  Caused by: operation timed out", True),
        ("error: Failed to download `uvloop`\n  Caused by: Hash mismatch for `uvloop==0.23.0`", False),
        ("error: Invalid requirement", False),
    ],
)
def test_a_wrong_hash_is_never_taken_for_a_missing_network(complaint: str, unreachable: bool) -> None:
    assert is_unreachable(complaint) is unreachable
