"""The locks: complete, hashed, without addresses, in agreement, free of model SDKs beside cards and of copyleft licences."""

import re
from importlib.metadata import PackageNotFoundError, metadata

import pytest
from packaging.requirements import Requirement

from tests.architecture.repository import HOLDS, LOCKS, MODEL_SDKS, deployables, distribution, entries, lock

ALL_LOCKS = sorted(path.stem for path in LOCKS.glob("*.txt"))
COPYLEFT = re.compile(r"(?<![A-Z])[AL]?GPL|GNU\s+(Affero|Lesser|Library|General)", re.IGNORECASE)
# Distributions whose licence reads like copyleft and is none, each with the reason.
LICENCE_EXCEPTIONS: dict[str, str] = {}


def unhashed(lock_text: str) -> list[str]:
    """The requirements of a lock that are not pinned to one version and its bytes."""
    blocks = re.findall(r"^[^\s#-].*?(?=^[^\s]|\Z)", lock_text, re.MULTILINE | re.DOTALL)
    pinned = re.compile(r"[a-z0-9][a-z0-9._-]*==[^\s;]+(?: ;[^\\]*)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+")
    return [block.split("\n")[0] for block in blocks if not pinned.fullmatch(block)]


def addresses(lock_text: str) -> list[str]:
    """What in a lock says where to fetch from."""
    return re.findall(
        r".*(?:://|--(?:extra-)?index|--find-links|--trusted-host| @ |\bgit\+).*|^-[a-z].*", lock_text, re.MULTILINE
    )


def unlocked(dependencies: list[str], lock_text: str) -> list[str]:
    """The direct dependencies that a lock does not pin to a version they allow."""
    pinned = {name: Requirement(line) for name, line in entries(lock_text).items()}
    return [wanted for wanted in dependencies if not _is_met(Requirement(wanted), pinned.get(distribution(wanted)))]


def _is_met(wanted: Requirement, pinned: Requirement | None) -> bool:
    return pinned is not None and pinned.marker is None and wanted.specifier.contains(_version(pinned))


def _version(pinned: Requirement) -> str:
    [specifier] = pinned.specifier
    return specifier.version


def licence(name: str) -> str:
    """Everything an installed distribution's metadata says of its licence. Raises PackageNotFoundError."""
    about = metadata(name)
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    stated = [*(about.get_all("License-Expression") or []), *(about.get_all("License") or [])]
    return "\n".join([*(text[:200] for text in stated), *classifiers]).strip()


def is_copyleft(text: str) -> bool:
    """Whether a licence asks for more than to keep its own files open: GPL, LGPL and AGPL in any spelling."""
    return COPYLEFT.search(text) is not None


@pytest.mark.parametrize("name", HOLDS)
def test_every_direct_dependency_is_locked_in_a_version_that_it_allows(name: str) -> None:
    assert unlocked(deployables()[name]["dependencies"], lock(name)) == []


@pytest.mark.parametrize("name", ALL_LOCKS)
def test_every_requirement_is_pinned_by_version_and_hash(name: str) -> None:
    assert unhashed(lock(name)) == []
    assert len(entries(lock(name))) > 1, "an empty lock proves nothing"


@pytest.mark.parametrize("name", ALL_LOCKS)
def test_no_lock_says_where_to_fetch_from(name: str) -> None:
    assert addresses(lock(name)) == []


def test_the_locks_agree_on_every_version() -> None:
    pins: dict[str, set[str]] = {}
    for name in ALL_LOCKS:
        for package, line in entries(lock(name)).items():
            pins.setdefault(package, set()).add(_version(Requirement(line)))
    assert {package: versions for package, versions in pins.items() if len(versions) > 1} == {}
    for name in HOLDS:
        assert entries(lock(name)).keys() <= entries(lock("dev")).keys()


@pytest.mark.parametrize("name", ["zone", "auditor"])
def test_no_model_sdk_is_locked_beside_cards_or_the_log(name: str) -> None:
    assert entries(lock(name)).keys() & MODEL_SDKS == set()


def test_a_model_sdk_in_a_lock_is_seen() -> None:
    assert entries(lock("commerce")).keys() & MODEL_SDKS == {"mcp", "mcp-types"}


@pytest.mark.parametrize("name", HOLDS)
def test_every_locked_distribution_has_a_licence_that_is_not_copyleft(name: str) -> None:
    licences = {}
    for package, line in entries(lock(name)).items():
        try:
            licences[package] = licence(package)
        except PackageNotFoundError:
            marker = Requirement(line).marker
            needed_here = marker is None or marker.evaluate()
            assert not needed_here, f"{package} is locked for this machine but not installed"
    assert [package for package, text in licences.items() if not text] == []
    refused = {package: text for package, text in licences.items() if is_copyleft(text)}
    assert refused.keys() == refused.keys() & LICENCE_EXCEPTIONS.keys()


@pytest.mark.parametrize(
    ("text", "copyleft"),
    [
        ("GPL-3.0-only", True),
        ("LGPL-2.1-or-later", True),
        ("GNU AGPLv3", True),
        ("License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)", True),
        ("License :: OSI Approved :: GNU General Public License (GPL)", True),
        ("MIT OR GPL-2.0-only", True),
        ("MIT", False),
        ("Apache-2.0 OR BSD-3-Clause", False),
        ("License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)", False),
    ],
)
def test_a_copyleft_licence_is_recognised(text: str, copyleft: bool) -> None:
    assert is_copyleft(text) is copyleft


_HASH = "    --hash=sha256:" + "0" * 64
_GOOD = f"uvloop==0.23.0 \\\n{_HASH} \\\n{_HASH}\nuvicorn==0.54.0 ; sys_platform != 'win32' \\\n{_HASH}\n"


def test_a_good_lock_passes_every_check() -> None:
    assert unhashed(_GOOD) == addresses(_GOOD) == unlocked(["uvloop>=0.23"], _GOOD) == []


@pytest.mark.parametrize(
    "planted",
    [
        _GOOD + "rich==15.0.0\n",
        _GOOD + f"rich>=15 \\\n{_HASH}\n",
        _GOOD + "rich==15.0.0 \\\n    --hash=md5:" + "0" * 32 + "\n",
        _GOOD.replace(f"{_HASH}\nuvicorn", "\nuvicorn"),
    ],
)
def test_a_requirement_without_its_hash_is_seen(planted: str) -> None:
    assert len(unhashed(planted)) == 1


@pytest.mark.parametrize(
    "planted",
    [
        "--index-url https://index.example/simple\n",
        "-i index.example\n",
        "--find-links /wheels\n",
        "rich @ https://index.example/rich.whl\n",
        "# made from https://index.example\n",
        "-e .\n",
    ],
)
def test_an_address_in_a_lock_is_seen(planted: str) -> None:
    assert len(addresses(planted + _GOOD)) == 1


@pytest.mark.parametrize("wanted", ["rich>=15", "uvloop>=0.24", "uvicorn>=0.54"])
def test_a_dependency_that_is_missing_too_old_or_only_for_some_machines_is_seen(wanted: str) -> None:
    assert unlocked([wanted], _GOOD) == [wanted]


def test_a_distribution_pinned_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        entries(_GOOD + f"UVloop==0.22.0 \\\n{_HASH}\n")
