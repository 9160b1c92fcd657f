"""``python -m compliance_docs.generate [--check]``: writes the documents in ``compliance_docs/generated`` from the data.

The same data gives the same bytes. ``--check`` writes nothing: it names every document that is out of date and everything in
the register that does not hold, and ends with 1 if there is any.
"""

import argparse
import csv
import io
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from compliance_docs.checks import is_awaited, register_problems
from compliance_docs.flows import FLOWS, PLACES, STORES, Flow, Side, carries_account_data
from compliance_docs.model import NOTICE, STANDARD, Requirement, Status
from compliance_docs.page_scripts import PAGE_SCRIPTS, script_problems
from compliance_docs.requirements import AWAITED, REQUIREMENTS
from compliance_docs.responsibility import HEADER, OUTSIDE, rows

ROOT: Final = Path(__file__).parents[1]
GENERATED: Final = Path(__file__).parent / "generated"
_MADE: Final = "<!-- Made by `python -m compliance_docs.generate`. Change the data, not this file. -->"
_CARD_ARROW, _ARROW = "==>", "-->"


def documents() -> dict[str, str]:
    """Every document, by file name."""
    return {
        "data-flow.md": data_flow_document(),
        "requirements.md": requirements_document(REQUIREMENTS),
        "responsibility-matrix.csv": matrix_csv(REQUIREMENTS),
        "responsibility-matrix.md": matrix_document(REQUIREMENTS),
    }


def requirements_document(requirements: Sequence[Requirement]) -> str:
    """The register for reading: a summary, then each requirement with control, evidence and what is missing."""
    counted = Counter(requirement.status for requirement in requirements)
    summary = _table(("status", "requirements"), [(status.value, str(counted[status])) for status in Status])
    parts = [_head("Requirements"), f"{STANDARD}, {len(requirements)} requirements.", summary]
    parts += [_requirement_section(requirement) for requirement in requirements]
    return "\n\n".join(parts) + "\n"


def _requirement_section(requirement: Requirement) -> str:
    lines = [
        f"## {requirement.number}",
        f"{requirement.ours}",
        f"- **Status:** {requirement.status}. **Owner:** {requirement.owner}.",
        f"- **Control:** {requirement.control}",
    ]
    if requirement.deferral:
        lines.append(f"- **Missing:** {requirement.deferral}")
    lines += [f"- **Left to the {duty.party}:** {duty.does}." for duty in requirement.duties]
    if requirement.code:
        lines.append(f"- **Code:** {_codes(requirement.code)}")
    if requirement.shown_by:
        lines.append("- **Shown by:**")
        lines += [f"  - `{identifier}`{_note(identifier)}" for identifier in requirement.shown_by]
    return "\n".join([lines[0], "", lines[1], "", *lines[2:]])


def data_flow_document() -> str:
    """The diagram, the flows, the stores, and the scripts of payment pages."""
    flow_rows = [
        (
            _place(flow.source),
            _place(flow.target),
            flow.what,
            flow.data,
            flow.channel,
            flow.protection,
            _codes(flow.code),
        )
        for flow in FLOWS
    ]
    store_rows = [
        (store.where, store.side, store.holds, store.data, store.protection, store.retention, _codes(store.tables))
        for store in STORES
    ]
    script_rows = [(f"`{script.path}`", script.reason, f"`{script.integrity}`") for script in PAGE_SCRIPTS]
    return (
        "\n\n".join(
            (
                _head("Data flows"),
                "Thick arrows carry account data; thin ones never do.",
                diagram(FLOWS),
                "## Places\n\n" + _table(("place", "side", "purpose"), [(p.title, p.side, p.purpose) for p in PLACES]),
                "## Flows\n\n" + _table(("from", "to", "what", "at most", "channel", "protection", "code"), flow_rows),
                "## Stores\n\n"
                + _table(("where", "side", "holds", "at most", "protection", "retention", "tables"), store_rows),
                "## Scripts of pages on which a card is entered\n\n"
                + _table(("script", "reason", "approved content"), script_rows),
            )
        )
        + "\n"
    )


def diagram(flows: Iterable[Flow]) -> str:
    """The flows as a Mermaid flowchart, one subgraph for each side of the wall."""
    lines = ["```mermaid", "flowchart LR"]
    for side in Side:
        lines.append(f'  subgraph side_{side.name.lower()}["{side.value}"]')
        lines += [f'    {place.id}["{place.title}"]' for place in PLACES if place.side is side]
        lines.append("  end")
    for flow in flows:
        arrow = _CARD_ARROW if carries_account_data(flow) else _ARROW
        lines.append(f'  {flow.source} {arrow}|"{flow.data}"| {flow.target}')
    return "\n".join([*lines, "```"])


def matrix_csv(requirements: Sequence[Requirement]) -> str:
    """The responsibility matrix as CSV (RFC 4180, UTF-8)."""
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *rows(requirements)])
    return text.getvalue()


def matrix_document(requirements: Sequence[Requirement]) -> str:
    """The responsibility matrix as a table, with what no part of the software touches."""
    outside = _table(("number", "subject", "left to"), [(*subject, "operator and merchant") for subject in OUTSIDE])
    parts = (
        _head("Responsibility matrix"),
        f"{STANDARD}. A matrix does not replace the written acknowledgement in an agreement (12.9.1).",
        _table(HEADER, rows(requirements)),
        f"## Untouched by the software\n\n{outside}",
    )
    return "\n\n".join(parts) + "\n"


def _head(title: str) -> str:
    return f"{_MADE}\n\n# {title}\n\n> {NOTICE}"


def _place(identifier: str) -> str:
    return next(place.title for place in PLACES if place.id == identifier)


def _note(identifier: str) -> str:
    return " (being written: shows nothing yet)" if is_awaited(identifier, AWAITED) else ""


def _codes(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def out_of_date(directory: Path) -> list[str]:
    """The documents that are not what the data gives, or that nothing makes; nothing when all are as they must be."""
    made = documents()
    present = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    differing = [name for name, text in made.items() if name not in present or _read(directory / name) != text]
    return [f"{name} is out of date: run `python -m compliance_docs.generate`" for name in differing] + [
        f"{name} is made by nothing: remove it" for name in sorted(present - made.keys())
    ]


def write(directory: Path) -> None:
    """Writes every document."""
    directory.mkdir(exist_ok=True)
    for name, text in documents().items():
        (directory / name).write_bytes(text.encode())


def main(argv: list[str] | None = None) -> int:
    """Writes or checks. Returns 0 when all is well, 1 when the check found something."""
    parser = argparse.ArgumentParser(prog="python -m compliance_docs.generate", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; name what is out of date or does not hold")
    if not parser.parse_args(argv).check:
        write(GENERATED)
        return 0
    problems = [*out_of_date(GENERATED), *register_problems(REQUIREMENTS, ROOT, AWAITED), *script_problems(ROOT)]
    for problem in problems:
        sys.stderr.write(f"compliance_docs: {problem}\n")
    return 1 if problems else 0


def _read(path: Path) -> str:
    return path.read_bytes().decode()


if __name__ == "__main__":
    sys.exit(main())
