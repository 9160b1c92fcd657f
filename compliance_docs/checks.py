"""Holds the register against the repository, in both directions. Reads source as text; imports and runs nothing.

What must hold:
 1. Numbers have the standard's form, and each stands once.
 2. A requirement names a test, or states why none shows it; one that is implemented names a test and defers nothing; one
    that is partly so, or deferred, says what is missing; one that is left to others says what to whom.
 3. Every test and every piece of code that is named exists; a test that is awaited does not, and counts for nothing.
 4. A test that bears a requirement's mark is listed there; a listed test of a file that uses the mark bears it.
 5. No text claims what only an assessor may say.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from compliance_docs.model import NUMBER, Owner, Requirement, Status

MARK: Final = "requirement"
_CLAIM: Final = re.compile(r"\bcompliant\b", re.IGNORECASE)
_TICKET: Final = re.compile(r"#\d+|\b[A-Z]{2,}-\d+\b")
_SOFTWARE: Final = (Owner.ZONE, Owner.COMMERCE, Owner.AUDITOR)
_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class MarkedTests:
    """The test functions of a file, and the requirements that each is marked with."""

    marks: dict[str, tuple[str, ...]]

    @property
    def uses_marks(self) -> bool:
        """Whether any of its tests bears the mark."""
        return any(self.marks.values())


def register_problems(requirements: Sequence[Requirement], root: Path, awaited: Sequence[str] = ()) -> list[str]:
    """Everything that does not hold, one sentence each; nothing when all does."""
    files = {path: read_test_file(root / path) for path in test_files(root)}
    return [
        *_number_problems(requirements),
        *(problem for requirement in requirements for problem in _statement_problems(requirement, awaited)),
        *(problem for requirement in requirements for problem in _test_problems(requirement, files, awaited)),
        *(problem for requirement in requirements for problem in _code_problems(requirement, root)),
        *_mark_problems(requirements, files),
        *_awaited_problems(requirements, files, awaited),
    ]


def claims(text: str) -> bool:
    """Whether the text says of anything that it meets the standard (5)."""
    return _CLAIM.search(text) is not None


def test_files(root: Path) -> list[str]:
    """The test files of a checkout, by their path from its root."""
    return sorted(path.relative_to(root).as_posix() for path in (root / "tests").rglob("test_*.py"))


def read_test_file(path: Path) -> MarkedTests:
    """The tests of a file by name, a parametrised one by its function's."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    of_all = tuple(
        number
        for node in module.body
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets)
        for number in _marked(node.value)
    )
    functions = [node for node in module.body if isinstance(node, _FunctionNode) and node.name.startswith("test_")]
    return MarkedTests(
        {
            function.name: (*of_all, *(number for mark in function.decorator_list for number in _marked(mark)))
            for function in functions
        }
    )


def _marked(node: ast.expr) -> Iterator[str]:
    """The numbers in ``requirement("3.5.1")`` or ``pytest.mark.requirement("3.5.1")``, alone or in a list."""
    if isinstance(node, ast.List | ast.Tuple):
        for element in node.elts:
            yield from _marked(element)
    if isinstance(node, ast.Call):
        called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", None)
        if called == MARK:
            yield from (str(given.value) for given in node.args if isinstance(given, ast.Constant))


def _number_problems(requirements: Sequence[Requirement]) -> Iterator[str]:  # (1)
    seen: set[str] = set()
    for requirement in requirements:
        if not NUMBER.fullmatch(requirement.number):
            yield f"{requirement.number!r} is not a number of the standard"
        if requirement.number in seen:
            yield f"{requirement.number} stands twice"
        seen.add(requirement.number)


def _statement_problems(requirement: Requirement, awaited: Sequence[str]) -> Iterator[str]:  # (2) (5)
    number, status = requirement.number, requirement.status
    is_shown = any(not is_awaited(identifier, awaited) for identifier in requirement.shown_by)
    if not is_shown and not requirement.stated:
        yield f"{number} names no test and states no deferral"
    if status is Status.IMPLEMENTED and (requirement.deferral or not is_shown):
        yield f"{number} is implemented, so it names a test and defers nothing"
    if status is Status.IMPLEMENTED and requirement.owner not in _SOFTWARE:
        yield f"{number} is implemented, so one of the deployables owns it"
    if status in (Status.PARTLY, Status.DEFERRED) and not requirement.deferral:
        yield f"{number} is {status}, so it says what is missing"
    if status in (Status.CUSTOMER, Status.ASSESSOR) and not requirement.duties:
        yield f"{number} is left to others, so it says what to whom"
    texts = (requirement.ours, requirement.control, requirement.deferral, *(duty.does for duty in requirement.duties))
    if not (requirement.ours and requirement.control):
        yield f"{number} lacks its words or its control"
    if any(claims(text) for text in texts):
        yield f"{number} makes a claim that is an assessor's to make"
    if _TICKET.search(requirement.deferral):
        yield f"{number} defers to a ticket: state the reason itself"


def _test_problems(
    requirement: Requirement, files: dict[str, MarkedTests], awaited: Sequence[str]
) -> Iterator[str]:  # (3)
    for identifier in requirement.shown_by:
        path, _, name = identifier.partition("::")
        exists = any(name in file.marks if name else file.marks for file in _held(path, files))
        if not exists and not is_awaited(identifier, awaited):
            yield f"{requirement.number} names {identifier}, which does not exist"


def _awaited_problems(
    requirements: Sequence[Requirement], files: dict[str, MarkedTests], awaited: Sequence[str]
) -> Iterator[str]:  # (3)
    named = {identifier.partition("::")[0] for requirement in requirements for identifier in requirement.shown_by}
    for path in awaited:
        if any(file.marks for file in _held(path, files)):
            yield f"{path} is there: take it off the awaited ones"
        if path not in named:
            yield f"{path} is awaited by no requirement"


def is_awaited(identifier: str, awaited: Sequence[str]) -> bool:
    """Whether a test id lies in a file or directory that is still being written."""
    return any(_covers(path, identifier) for path in awaited)


def _held(path: str, files: dict[str, MarkedTests]) -> list[MarkedTests]:
    return [file for known, file in files.items() if _covers(path, known)]


def _code_problems(requirement: Requirement, root: Path) -> Iterator[str]:  # (3)
    for named in requirement.code:
        path, _, symbol = named.partition("::")
        if not (root / path).exists():
            yield f"{requirement.number} names {path}, which does not exist"
        elif symbol and not has_symbol((root / path).read_text(encoding="utf-8"), symbol):
            yield f"{requirement.number} names {named}, which does not exist"


def has_symbol(source: str, dotted: str) -> bool:
    """Whether a module defines a name, or a class in it does: ``LocalKeys.open``."""
    body: Iterable[ast.stmt] = ast.parse(source).body
    for name in dotted.split("."):
        found = next((node for node in body if name in _defined(node)), None)
        if found is None:
            return False
        body = found.body if isinstance(found, ast.ClassDef) else ()
    return True


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, _FunctionNode | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _mark_problems(requirements: Sequence[Requirement], files: dict[str, MarkedTests]) -> Iterator[str]:  # (4)
    listed = {requirement.number: requirement.shown_by for requirement in requirements}
    for path, file in files.items():
        for name, numbers in file.marks.items():
            identifier = f"{path}::{name}"
            for number in numbers:
                if number not in listed:
                    yield f"{identifier} is marked {number}, which is not in the register"
                elif not any(_covers(entry, identifier) for entry in listed[number]):
                    yield f"{identifier} is marked {number}: list it there"
    for number, entries in listed.items():
        for entry in entries:
            path, _, name = entry.partition("::")
            if (
                name
                and path in files
                and files[path].uses_marks
                and number not in files[path].marks.get(name, (number,))
            ):
                yield f"{entry} is listed under {number} and does not bear its mark, as others of its file do"


def _covers(entry: str, identifier: str) -> bool:
    return identifier == entry or identifier.startswith((f"{entry}::", f"{entry}/"))
