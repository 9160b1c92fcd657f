"""Who answers for what: the register's rows turned to the parties (PCI DSS 12.8.5, 12.9.2)."""

from collections.abc import Iterable
from typing import Final

from compliance_docs.model import Party, Requirement, Status

# What the software contributes, by status.
_SOFTWARE: Final = {
    Status.IMPLEMENTED: "provides the control",
    Status.PARTLY: "provides part of it",
    Status.CUSTOMER: "nothing",
    Status.DEFERRED: "not yet",
    Status.ASSESSOR: "nothing",
}
_SUPPORTS: Final = "supports it"
_NOTHING: Final = "–"

HEADER: Final = ("number", "in our words", "status", "owner", "Cordon", *(party.value for party in Party), "note")

# What no part of the software touches, so that nobody takes its absence from the register for an answer.
OUTSIDE: Final = (
    ("5", "malware protection of hosts"),
    ("8.2–8.5", "accounts, passwords and factors of people"),
    ("9", "physical access to hosts, media and devices"),
    ("12.1–12.4", "policies, roles and oversight"),
    ("12.6–12.7", "training and screening of people"),
)


def row(requirement: Requirement) -> tuple[str, ...]:
    """One requirement's row, in the order of HEADER."""
    duties = {
        party: "; ".join(duty.does for duty in requirement.duties if duty.party is party) or _NOTHING for party in Party
    }
    return (
        requirement.number,
        requirement.ours,
        requirement.status.value,
        requirement.owner.value,
        software_part(requirement),
        *duties.values(),
        requirement.deferral or _NOTHING,
    )


def rows(requirements: Iterable[Requirement]) -> list[tuple[str, ...]]:
    """Every requirement's row."""
    return [row(requirement) for requirement in requirements]


def software_part(requirement: Requirement) -> str:
    """What the software contributes, in a word or two."""
    left_to_others = requirement.status in (Status.CUSTOMER, Status.ASSESSOR)
    return _SUPPORTS if left_to_others and requirement.code else _SOFTWARE[requirement.status]
