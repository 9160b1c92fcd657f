"""The inventory of scripts: every script of a payment page is in it, with its reason, as it was approved."""

from pathlib import Path

from commerce_api.pages.render import passkey_script
from compliance_docs.page_scripts import PAGE_DIRECTORIES, PAGE_SCRIPTS, integrity, script_problems
from tests.requirement import requirement
from vault_zone.pages.render import asset_url, static_asset

ROOT = Path(__file__).parents[2]


def planted(root: Path, **files: bytes) -> Path:
    """A checkout with the pages' directories and these scripts in the first of them, beside the approved ones."""
    for directory in PAGE_DIRECTORIES:
        (root / directory).mkdir(parents=True)
    for approved in PAGE_SCRIPTS:
        (root / approved.path).write_bytes((ROOT / approved.path).read_bytes())
    for name, content in files.items():
        (root / PAGE_DIRECTORIES[0] / f"{name}.js").write_bytes(content)
    return root


@requirement("6.4.3")
def test_every_script_of_a_page_is_in_the_inventory_as_approved() -> None:
    assert script_problems(ROOT) == []
    assert all(script.reason for script in PAGE_SCRIPTS)


def test_the_approved_content_is_what_the_page_demands() -> None:
    demanded = {"commerce_api/pages/passkeys.js": passkey_script().integrity}
    for script in PAGE_SCRIPTS:
        if script.path.startswith("vault_zone/"):
            name = asset_url(Path(script.path).name).rsplit("/", 1)[-1]
            demanded[script.path] = static_asset(name).integrity
    assert demanded == {script.path: script.integrity for script in PAGE_SCRIPTS}


@requirement("6.4.3", "11.6.1")
def test_a_script_changed_after_its_approval_is_found(tmp_path: Path) -> None:
    changed = b"fetch('https://skimmer.example')"
    problems = script_problems(planted(tmp_path, card=changed))
    assert problems == [
        f"vault_zone/pages/card.js is not what was approved: read the change, then set its integrity to {integrity(changed)}"
    ]


def test_a_script_that_nobody_listed_is_found(tmp_path: Path) -> None:
    assert script_problems(planted(tmp_path, extra=b"")) == [
        "vault_zone/pages/extra.js is not in the inventory: list it with its reason"
    ]


def test_a_script_that_is_gone_is_found(tmp_path: Path) -> None:
    (planted(tmp_path) / PAGE_SCRIPTS[0].path).unlink()
    assert script_problems(tmp_path) == ["vault_zone/pages/card.js is in the inventory and does not exist"]
