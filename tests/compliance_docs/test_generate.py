"""The generated documents: up to date, the same every time, complete, and without claims."""

import csv
import io
import re
from pathlib import Path

import pytest

from compliance_docs import generate
from compliance_docs.checks import claims
from compliance_docs.flows import FLOWS, PLACES, carries_account_data
from compliance_docs.generate import GENERATED, diagram, documents, main, out_of_date, write
from compliance_docs.model import NOTICE, Party
from compliance_docs.requirements import REQUIREMENTS
from compliance_docs.responsibility import HEADER
from tests.requirement import requirement

ROOT = Path(__file__).parents[2]


@requirement("12.5.2.1", "12.9.2")
def test_the_generated_documents_are_up_to_date() -> None:
    assert out_of_date(GENERATED) == []


@pytest.mark.parametrize("name", sorted(documents()))
def test_a_changed_or_missing_document_is_named(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    assert out_of_date(tmp_path) == []
    (tmp_path / name).write_text("changed by hand")
    assert out_of_date(tmp_path) == [f"{name} is out of date: run `python -m compliance_docs.generate`"]
    (tmp_path / name).unlink()
    assert out_of_date(tmp_path) == [f"{name} is out of date: run `python -m compliance_docs.generate`"]


def test_a_document_that_nothing_makes_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "old.md").write_text("")
    assert out_of_date(tmp_path) == ["old.md is made by nothing: remove it"]


def test_the_check_ends_with_one_and_names_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register, scripts = ["3.5.1 stands twice"], ["card.js is not what was approved"]
    monkeypatch.setattr(generate, "GENERATED", tmp_path / "generated")
    monkeypatch.setattr(generate, "register_problems", lambda *_: register)
    monkeypatch.setattr(generate, "script_problems", lambda *_: scripts)
    assert main(["--check"]) == 1
    said = capsys.readouterr().err
    assert all(problem in said for problem in ("requirements.md is out of date", *register, *scripts))
    assert not (tmp_path / "generated").exists(), "a check writes nothing"
    assert main([]) == 0
    assert main(["--check"]) == 1
    register.clear()
    scripts.clear()
    assert main(["--check"]) == 0


def test_the_same_data_gives_the_same_bytes() -> None:
    assert documents() == documents()


def test_no_document_claims_what_is_an_assessors_to_say() -> None:
    written = [*documents().values(), (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")]
    assert not any(claims(text) for text in written)
    assert claims(written[0] + "We are " + "compliant"), "the check is blind"


def test_every_document_for_reading_says_that_it_is_a_self_assessment() -> None:
    assert all(NOTICE in text for name, text in documents().items() if name.endswith(".md"))


@requirement("12.8.5", "12.9.2")
def test_every_requirement_has_its_row_in_the_matrix() -> None:
    header, *body = csv.reader(io.StringIO(documents()["responsibility-matrix.csv"], newline=""))
    assert tuple(header) == HEADER
    assert [row[0] for row in body] == [requirement.number for requirement in REQUIREMENTS]
    assert all(len(row) == len(HEADER) and all(row) for row in body)


def test_every_duty_stands_in_its_partys_column() -> None:
    rows = {
        row["number"]: row for row in csv.DictReader(io.StringIO(documents()["responsibility-matrix.csv"], newline=""))
    }
    for each in REQUIREMENTS:
        for duty in each.duties:
            assert duty.does in rows[each.number][duty.party.value]
        idle = set(Party) - {duty.party for duty in each.duties}
        assert all(rows[each.number][party.value] == "–" for party in idle)


def test_what_is_missing_is_said_in_the_document() -> None:
    text = documents()["requirements.md"]
    assert all(each.deferral in text for each in REQUIREMENTS)
    assert all(f"## {each.number}\n" in text for each in REQUIREMENTS)


def test_tables_are_rectangular() -> None:
    for name, text in documents().items():
        for block in re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE):
            widths = {len(re.split(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(widths) == 1, name


def test_the_diagram_draws_every_flow_and_account_data_thick() -> None:
    lines = diagram(FLOWS).splitlines()
    assert lines[0] == "```mermaid"
    assert lines[-1] == "```"
    for place in PLACES:
        assert f'    {place.id}["{place.title}"]' in lines
    groups = [line.split()[1].partition("[")[0] for line in lines if line.startswith("  subgraph ")]
    assert len({*groups, *(place.id for place in PLACES)}) == len(groups) + len(PLACES), "an id stands for two things"
    thick = [line for line in lines if "==>" in line]
    assert len(thick) == sum(map(carries_account_data, FLOWS))
    assert sum(" --> " in line or " -->|" in line for line in lines) == len(FLOWS) - len(thick)
    assert not any("assistant" in line or "commerce" in line or "mcp" in line for line in thick)
