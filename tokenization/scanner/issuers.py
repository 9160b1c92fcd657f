"""Which digit strings can be a payment card number: issuer ranges, lengths and the Luhn check.

ISO/IEC 7812-1:2017 sets the form (a PAN has at most 19 digits; its first digits are the issuer identification number; its
last digit is the check digit of annex B, the Luhn formula). The ranges of each scheme are those the schemes publish for
acquirers; four leading digits are enough to tell them apart. Ranges that begin with 1 (UATP) are left out on purpose: every
Unix time in milli-, micro- or nanoseconds begins with 1.
"""

from typing import Final, NamedTuple

SHORTEST_PAN: Final = 13  # Visa's old form, the shortest still met; 12-digit Maestro would catch every FedEx number
LONGEST_PAN: Final = 19  # ISO/IEC 7812-1
PREFIX_DIGITS: Final = 4


class IssuerRange(NamedTuple):
    """One scheme's range: numbers whose first four digits lie in ``first..last`` and that have one of ``lengths``."""

    scheme: str
    first: int
    last: int
    lengths: tuple[int, ...]


_13_TO_19: Final = (13, 14, 15, 16, 17, 18, 19)
_14_TO_19: Final = (14, 15, 16, 17, 18, 19)
_16_TO_19: Final = (16, 17, 18, 19)

ISSUER_RANGES: Final = (
    IssuerRange("Visa", 4000, 4999, (13, 16, 19)),  # with V Pay, Electron, Dankort, Carte Bancaire and Elo co-brands
    IssuerRange("Mastercard", 5100, 5599, (16,)),
    IssuerRange("Mastercard", 2221, 2720, (16,)),
    IssuerRange("American Express", 3400, 3499, (15,)),
    IssuerRange("American Express", 3700, 3799, (15,)),
    IssuerRange("Diners Club", 3000, 3059, (14, 16, 19)),
    IssuerRange("Diners Club", 3095, 3095, (14, 16, 19)),
    IssuerRange("Diners Club", 3600, 3699, _14_TO_19),
    IssuerRange("Diners Club", 3800, 3999, (14, 16, 19)),
    IssuerRange("JCB", 3528, 3589, _16_TO_19),
    IssuerRange("Discover", 6011, 6011, _16_TO_19),
    IssuerRange("Discover", 6440, 6599, _16_TO_19),  # 65 is shared with RuPay, Elo, Troy and Verve
    IssuerRange("UnionPay", 6200, 6299, _16_TO_19),
    IssuerRange("UnionPay", 8100, 8199, _16_TO_19),  # shared with RuPay 81
    IssuerRange("RuPay", 6000, 6099, (16,)),  # 6062 also Hipercard
    IssuerRange("RuPay", 8200, 8299, (16,)),
    IssuerRange("Mir", 2200, 2205, _16_TO_19),  # 2205 is Borica
    IssuerRange(
        "Maestro", 5000, 5099, _13_TO_19
    ),  # with Elo 5041, 5066-5067 and 5090; Verve 5060-5061, 5078-5079; RuPay 508
    IssuerRange("Maestro", 5600, 5899, _13_TO_19),
    IssuerRange("Maestro", 6304, 6304, _13_TO_19),
    IssuerRange("Maestro", 6390, 6390, (16,)),
    IssuerRange("Maestro", 6700, 6799, _13_TO_19),
    IssuerRange("InterPayment, InstaPayment, Hiper", 6360, 6399, (16,)),  # 636 also Elo
    IssuerRange("Troy", 9792, 9792, (16,)),
    IssuerRange("Uzcard", 8600, 8600, (16,)),
    IssuerRange("Humo", 9860, 9860, (16,)),
    IssuerRange("Napas", 9704, 9704, (16, 19)),
    IssuerRange("Belkart", 9112, 9112, (16,)),
)

_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")


def _lengths_by_prefix() -> dict[str, tuple[int, ...]]:
    lengths: dict[str, set[int]] = {}
    for issuer in ISSUER_RANGES:
        for prefix in range(issuer.first, issuer.last + 1):
            lengths.setdefault(f"{prefix:04d}", set()).update(issuer.lengths)
    return {prefix: tuple(sorted(allowed, reverse=True)) for prefix, allowed in lengths.items()}


LENGTHS_BY_PREFIX: Final = _lengths_by_prefix()
"""PAN lengths that some scheme issues, longest first, by the first four ASCII digits."""


def passes_luhn(digits: str) -> bool:
    """Whether the last of these ASCII digits is the check digit of the others (ISO/IEC 7812-1 annex B)."""
    raw = digits.encode()
    return (sum(raw[-1::-2]) + sum(raw[-2::-2].translate(_DOUBLED)) - 48 * len(raw)) % 10 == 0


def is_card_number(digits: str) -> bool:
    """Whether these ASCII digits have an issued prefix, a length that goes with it, and a right check digit."""
    return len(digits) in LENGTHS_BY_PREFIX.get(digits[:PREFIX_DIGITS], ()) and passes_luhn(digits)
