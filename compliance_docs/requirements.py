"""The register: every requirement that the software touches today, in the standard's order."""

from typing import Final

from compliance_docs.model import Requirement, number_order
from compliance_docs.register import access, account_data, keys, network, organisation, records, software, testing

# Test files and directories that the register names and that are still being written. The check tolerates no other
# absence, counts none of these as showing anything, and fails as soon as one of them is there.
AWAITED: Final[tuple[str, ...]] = ()

REQUIREMENTS: Final[tuple[Requirement, ...]] = tuple(
    sorted(
        (
            *network.REQUIREMENTS,
            *account_data.REQUIREMENTS,
            *keys.REQUIREMENTS,
            *software.REQUIREMENTS,
            *access.REQUIREMENTS,
            *records.REQUIREMENTS,
            *testing.REQUIREMENTS,
            *organisation.REQUIREMENTS,
        ),
        key=lambda requirement: number_order(requirement.number),
    )
)
