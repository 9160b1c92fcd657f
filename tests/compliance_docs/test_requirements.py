"""The register against the repository, in both directions; and each rule of the check against a planted fault."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from audit.event import EventType
from compliance_docs.checks import claims, has_symbol, read_test_file, register_problems
from compliance_docs.model import Owner, Requirement, Status, number_order
from compliance_docs.requirements import AWAITED, REQUIREMENTS

ROOT = Path(__file__).parents[2]
# What the register has to speak of at least: all that the software touches today.
TOUCHED = (
    "1.2.3 1.2.4 1.3.2 1.4.4 2.2.2 3.2.1 3.3.1 3.3.1.2 3.3.2 3.4.1 3.5.1 3.5.1.1 3.6.1 3.6.1.2 3.7.1 3.7.2 3.7.3 3.7.4 "
    "3.7.5 3.7.6 3.7.7 3.7.8 3.7.9 4.2.1 4.2.2 6.2.3 6.2.4 6.3.2 6.4.2 6.4.3 6.5.5 6.5.6 7.2.5 7.2.6 7.3.3 8.6.1 8.6.2 "
    "8.6.3 10.2.1.1 10.2.1.2 10.2.1.3 10.2.1.4 10.2.1.5 10.2.1.6 10.2.1.7 10.2.2 10.3.1 10.3.2 10.3.3 10.3.4 10.5.1 "
    "10.6.1 10.6.2 10.6.3 10.7.2 11.3.1 11.3.2 11.4.5 11.4.6 11.6.1 12.5.2 12.8.1 12.8.2 12.8.3 12.8.4 12.8.5 12.9.2 "
    "12.10.7"
)
SOUND = Requirement(
    number="3.5.1",
    ours="Stored cards cannot be read.",
    control="They are sealed.",
    owner=Owner.ZONE,
    status=Status.IMPLEMENTED,
    shown_by=("tests/zone/test_seal.py::test_marked",),
    code=("zone/seal.py::Seal.close",),
)
MISSING = "3.5.1 names tests/zone/test_seal.py::test_absent, which does not exist"
CLAIM = " ".join(("This is PCI", "compliant" + "."))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small repository with one marked test, one unmarked one, and a file without marks."""
    (tmp_path / "zone").mkdir()
    (tmp_path / "zone" / "seal.py").write_text("LIMIT: int = 1\n\nclass Seal:\n    def close(self) -> None: ...\n")
    (tmp_path / "tests" / "zone").mkdir(parents=True)
    (tmp_path / "tests" / "zone" / "test_seal.py").write_text(
        "from tests.requirement import requirement\n\n"
        "@requirement('3.5.1')\nasync def test_marked(): ...\n\n"
        "def test_unmarked(): ...\n\ndef helper(): ...\n"
    )
    (tmp_path / "tests" / "zone" / "test_other.py").write_text("def test_plain(): ...\n")
    return tmp_path


def test_the_register_holds() -> None:
    assert register_problems(REQUIREMENTS, ROOT, AWAITED) == []


def test_events_that_the_register_calls_unwritten_are_written_nowhere() -> None:
    deferred = " ".join(requirement.deferral for requirement in REQUIREMENTS)
    unwritten = {event for event in EventType if re.search(rf"\b{re.escape(event.value)}\b", deferred)}
    assert len(unwritten) >= 1, "the search is blind, or the register has caught up: then remove this test"
    assert unwritten & written_events(ROOT) == set()


def test_a_written_event_is_seen() -> None:
    assert {EventType.CHARGE_INTENDED, EventType.KEY_CREATED, EventType.CARD_TEXT_REFUSED} <= written_events(ROOT)


def written_events(root: Path) -> set[EventType]:
    """The events that shipped code names besides the list of all of them."""
    named: set[str] = set()
    for package in ("vault_zone", "commerce_api", "mcp_server", "offer_engine", "audit"):
        for path in (root / package).rglob("*.py"):
            if path != root / "audit" / "event.py":
                named.update(re.findall(r"\bEventType\.([A-Z_]+)\b", path.read_text(encoding="utf-8")))
    return {EventType[name] for name in named}


def test_the_register_speaks_of_all_that_the_software_touches() -> None:
    assert set(TOUCHED.split()) - {requirement.number for requirement in REQUIREMENTS} == set()


def test_the_register_stands_in_the_order_of_the_standard() -> None:
    numbers = ["10.2.1", "3.5.1.1", "3.5.1", "A1.2.1", "12.10.7", "3.10.1"]
    assert sorted(numbers, key=number_order) == ["3.5.1", "3.5.1.1", "3.10.1", "10.2.1", "12.10.7", "A1.2.1"]
    assert sorted(REQUIREMENTS, key=lambda requirement: number_order(requirement.number)) == list(REQUIREMENTS)


def test_a_sound_requirement_has_no_problem(checkout: Path) -> None:
    assert register_problems([SOUND], checkout) == []


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        (
            replace(SOUND, shown_by=("tests/zone/test_seal.py::test_marked", "tests/zone/test_seal.py::test_absent")),
            MISSING,
        ),
        (replace(SOUND, shown_by=("tests/zone/test_seal.py", "tests/none.py")), "names tests/none.py, which does not"),
        (replace(SOUND, shown_by=("tests/zone/test_seal.py", "tests/none")), "names tests/none, which does not exist"),
        (
            replace(SOUND, shown_by=("tests/zone/test_seal.py", "tests/zone/test_seal.py::helper")),
            "::helper, which does",
        ),
        (replace(SOUND, shown_by=("tests/zone/test_se",)), "names tests/zone/test_se, which does not exist"),
        (replace(SOUND, code=("zone/gone.py",)), "names zone/gone.py, which does not exist"),
        (replace(SOUND, code=("zone/seal.py::Seal.open",)), "names zone/seal.py::Seal.open, which does not exist"),
        (replace(SOUND, code=("zone/seal.py::Lock",)), "names zone/seal.py::Lock, which does not exist"),
        (replace(SOUND, deferral="Later."), "3.5.1 is implemented, so it names a test and defers nothing"),
        (replace(SOUND, owner=Owner.OPERATOR), "3.5.1 is implemented, so one of the deployables owns it"),
        (replace(SOUND, status=Status.PARTLY), "3.5.1 is partly, so it says what is missing"),
        (replace(SOUND, status=Status.DEFERRED), "3.5.1 is deferred, so it says what is missing"),
        (replace(SOUND, status=Status.CUSTOMER), "3.5.1 is left to others, so it says what to whom"),
        (replace(SOUND, status=Status.ASSESSOR), "3.5.1 is left to others, so it says what to whom"),
        (
            replace(SOUND, status=Status.DEFERRED, deferral="See #12."),
            "3.5.1 defers to a ticket: state the reason itself",
        ),
        (replace(SOUND, control=CLAIM), "3.5.1 makes a claim that is an assessor's to make"),
        (replace(SOUND, control=""), "3.5.1 lacks its words or its control"),
    ],
)
def test_a_planted_fault_is_found(checkout: Path, planted: Requirement, found: str) -> None:
    problems = register_problems([planted], checkout)
    assert [problem for problem in problems if found in problem] == [problems[0]]


@pytest.mark.parametrize("status", list(Status))
def test_a_requirement_without_test_or_deferral_is_found(checkout: Path, status: Status) -> None:
    silent = replace(SOUND, status=status, shown_by=())
    assert "3.5.1 names no test and states no deferral" in register_problems([silent], checkout)


@pytest.mark.parametrize("number", ["", "3", "3.5.", "3.05", "13.1", "0.1", "3.5.1.1.1", "A4.1", "x", "3.5.1 "])
def test_what_is_no_number_of_the_standard_is_found(checkout: Path, number: str) -> None:
    assert f"{number!r} is not a number of the standard" in register_problems([replace(SOUND, number=number)], checkout)


def test_a_number_that_stands_twice_is_found(checkout: Path) -> None:
    assert register_problems([SOUND, SOUND], checkout) == ["3.5.1 stands twice"]


@pytest.mark.parametrize("path", ["tests/zone/test_later.py", "tests/later"])
def test_an_awaited_test_may_be_missing_and_shows_nothing(checkout: Path, path: str) -> None:
    both = replace(SOUND, shown_by=(*SOUND.shown_by, path))
    assert register_problems([both], checkout, [path]) == []
    assert register_problems([both], checkout) == [f"3.5.1 names {path}, which does not exist"]
    alone = replace(SOUND, number="3.5.2", shown_by=(path,))
    assert "3.5.2 names no test and states no deferral" in register_problems([SOUND, alone], checkout, [path])


def test_an_awaited_test_that_is_there_or_that_nobody_names_is_found(checkout: Path) -> None:
    assert "tests/zone is there: take it off the awaited ones" in register_problems([SOUND], checkout, ["tests/zone"])
    assert register_problems([SOUND], checkout, ["tests/x.py"]) == ["tests/x.py is awaited by no requirement"]


def test_a_marked_test_that_is_not_listed_is_found(checkout: Path) -> None:
    other = replace(SOUND, shown_by=("tests/zone/test_other.py::test_plain",))
    assert register_problems([other], checkout) == [
        "tests/zone/test_seal.py::test_marked is marked 3.5.1: list it there"
    ]


def test_a_mark_that_the_register_does_not_know_is_found(checkout: Path) -> None:
    other = replace(SOUND, number="3.4.1", shown_by=("tests/zone/test_other.py",))
    assert register_problems([other], checkout) == [
        "tests/zone/test_seal.py::test_marked is marked 3.5.1, which is not in the register"
    ]


def test_a_listed_test_without_the_mark_that_its_file_uses_is_found(checkout: Path) -> None:
    more = replace(SOUND, shown_by=(*SOUND.shown_by, "tests/zone/test_seal.py::test_unmarked"))
    assert register_problems([more], checkout) == [
        "tests/zone/test_seal.py::test_unmarked is listed under 3.5.1 and does not bear its mark, as others of its file do"
    ]


@pytest.mark.parametrize("entry", ["tests/zone/test_seal.py", "tests/zone"])
def test_a_file_or_a_directory_that_is_listed_lists_its_marked_tests(checkout: Path, entry: str) -> None:
    assert register_problems([replace(SOUND, shown_by=(entry,))], checkout) == []


@pytest.mark.parametrize(
    "source",
    [
        "@requirement('1.2.3', '3.5.1')\ndef test_x(): ...\n",
        "@pytest.mark.requirement('3.5.1')\nasync def test_x(): ...\n",
        "pytestmark = requirement('3.5.1')\ndef test_x(): ...\n",
        "pytestmark = [pytest.mark.anyio, requirement('3.5.1')]\ndef test_x(): ...\n",
        "@pytest.mark.anyio\n@requirement('3.5.1')\n@pytest.mark.parametrize('n', [1])\ndef test_x(n): ...\n",
    ],
)
def test_a_mark_is_read_however_it_is_put(tmp_path: Path, source: str) -> None:
    (tmp_path / "test_x.py").write_text(source)
    assert "3.5.1" in read_test_file(tmp_path / "test_x.py").marks["test_x"]


def test_the_mark_on_a_test_is_what_the_check_reads() -> None:
    decorated = ast.parse((ROOT / "tests" / "compliance_docs" / "test_flows.py").read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.ImportFrom) and node.module == "tests.requirement" for node in decorated.body)
    assert read_test_file(ROOT / "tests" / "compliance_docs" / "test_flows.py").uses_marks


def test_names_of_classes_constants_and_methods_are_symbols() -> None:
    source = "A = 1\nB: int = 2\nclass C:\n    d = 3\n    async def e(self): ...\ndef f(): ...\n"
    assert all(has_symbol(source, name) for name in ("A", "B", "C", "C.d", "C.e", "f"))
    assert not any(has_symbol(source, name) for name in ("D", "C.A", "f.x", "e", ""))


@pytest.mark.parametrize("text", [CLAIM, CLAIM.upper(), "non-" + "compliant"])
def test_a_claim_is_recognised(text: str) -> None:
    assert claims(text)
    assert not claims("compliance_docs; a self-assessment")
