"""What the register is made of. The standard is copyrighted: it is cited by number, and said in our own words."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

STANDARD: Final = "PCI DSS 4.0.1"
NOTICE: Final = (
    "Self-assessment by the makers of the software, by requirement number and in our own words. "
    "It is not an assessor's result: read the standard itself, and let an assessor decide."
)
# Twelve principal requirements, and the appendices for some kinds of entity; up to three levels below.
NUMBER: Final = re.compile(r"(?:[1-9]|1[0-2]|A[1-3])(?:\.[1-9][0-9]?){1,3}")


class Status(StrEnum):
    """How a requirement stands. No word here claims that it is met: that is an assessor's to say."""

    IMPLEMENTED = "implemented"  # the software does its part, and the tests named show it
    PARTLY = "partly"  # what is missing is stated
    CUSTOMER = "customer's responsibility"  # software cannot do it; what is left to whom is stated
    DEFERRED = "deferred"  # the software should do it and does not yet; the reason is stated
    ASSESSOR = "needs assessor"  # somebody independent has to do it


class Owner(StrEnum):
    """Who answers for the control: one of the three deployables, or somebody outside the software."""

    ZONE = "zone"
    COMMERCE = "commerce"
    AUDITOR = "auditor"
    MERCHANT = "merchant"
    PROCESSOR = "processor"
    OPERATOR = "operator"


class Party(StrEnum):
    """Whom a duty may be left to."""

    OPERATOR = "operator"
    MERCHANT = "merchant"
    PROCESSOR = "processor"
    MODEL_VENDOR = "model vendor"
    ASSESSOR = "assessor"


@dataclass(frozen=True, slots=True)
class Duty:
    """What a party outside the software has to do."""

    party: Party
    does: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One requirement as it touches Cordon.

    ``shown_by`` holds test ids, ``tests/….py::test_name`` or ``tests/….py``; ``code`` holds paths, or ``path.py::Symbol``.
    ``deferral`` says what is missing and why. ``duties`` are what is left to others.
    """

    number: str
    ours: str
    control: str
    owner: Owner
    status: Status
    shown_by: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    deferral: str = ""
    duties: tuple[Duty, ...] = ()

    @property
    def stated(self) -> str:
        """Why no test shows all of it: the deferral, or the duties where the requirement is somebody else's."""
        others = self.status in (Status.CUSTOMER, Status.ASSESSOR)
        return self.deferral or ("; ".join(f"{duty.party}: {duty.does}" for duty in self.duties) if others else "")


def tests(path: str, *names: str) -> tuple[str, ...]:
    """The ids of test functions of one file; of the file itself when none is named."""
    return tuple(f"{path}::{name}" for name in names) or (path,)


def operator(does: str) -> Duty:
    """A duty of who runs the software."""
    return Duty(Party.OPERATOR, does)


def merchant(does: str) -> Duty:
    """A duty of the brand that sells."""
    return Duty(Party.MERCHANT, does)


def processor(does: str) -> Duty:
    """A duty of the card processor."""
    return Duty(Party.PROCESSOR, does)


def model_vendor(does: str) -> Duty:
    """A duty of whoever serves the language model."""
    return Duty(Party.MODEL_VENDOR, does)


def assessor(does: str) -> Duty:
    """A duty of somebody independent: an assessor, a scanning vendor, a tester."""
    return Duty(Party.ASSESSOR, does)


def number_order(number: str) -> tuple[int, ...]:
    """The order of the standard: 3.5.1 before 3.5.1.1 before 3.10; appendices last."""
    appendix = number.startswith("A")
    return (int(appendix), *map(int, number.removeprefix("A").split(".")))
