"""How sensitive a value is, by its words: a key says the least it may be, and words make it more, never less.

English only, and a list: it catches what is plain, and is no promise for what is not.
"""

import re
from typing import Final

from audit.event import looks_like_card
from commerce_api.memory.terms import Sensitivity

_SENSITIVE: Final = re.compile(
    r"\b(?:health|illness|disease|sick(?:ness)?|diabet\w*|asthma\w*|allerg\w*|cancer|hiv|aids|epilep\w*|depress\w*|anxiety|autis\w*|"
    r"adhd|dementia|disab\w*|wheelchair|blind|deaf|pregnan\w*|maternity|nursing|miscarriage|fertility|medicat\w*|medicine|"
    r"insulin|prescription|therapy|therapist|surgery|hospital|doctor|addict\w*|alcoholic|celiac|coeliac|intoleran\w*|arthritis|"
    r"religio\w*|christian\w*|catholic\w*|protestant\w*|muslim\w*|islam\w*|jewish|jew|judaism|hindu\w*|buddhis\w*|sikh\w*|atheis\w*|"
    r"church|mosque|synagogue|temple|halal|kosher|ramadan|eid|hanukkah|diwali|christmas|easter|lent|baptism|bar mitzvah|"
    r"ethnic\w*|race|racial|immigra\w*|refugee|asylum|nationality|skin colou?r|"
    r"gay|lesbian|bisexual|transgender|queer|heterosexual|homosexual|sexual\w*|gender|"
    r"politic\w*|democrat\w*|republican\w*|conservative|socialist|labour party|union member|trade union|voted?|"
    r"convict\w*|criminal|prison|biometric|genetic\w*|dna)\b",
    re.IGNORECASE,
)
_PAYMENT: Final = re.compile(
    r"\b(?:visa|master ?card|amex|american express|maestro|discover|diners|credit|debit|cards?|pay(?:s|ing|ment|pal)?|klarna|"
    r"affirm|afterpay|invoice|instal?lments?|bank|apple pay|google pay|venmo|wallet|ending in|last four|direct debit)\b",
    re.IGNORECASE,
)
# What could take money, whoever holds it: not even with consent.
_ACCOUNT: Final = re.compile(
    r"\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}\b"  # IBAN (ISO 13616)
    r"|\b(?:cvc|cvv|cvn|cid|csc|pin|passw\w*|security code|iban|bic|sort code|routing|account (?:number|no))\b"
    r"|\b(?:0[1-9]|1[0-2]) ?[/-] ?(?:20)?[2-4][0-9]\b"  # a card's expiry
    r"|(?:[0-9][ .-]?){8,}",  # accounts, parts of cards
    re.IGNORECASE,
)
_ORDER: Final = {
    Sensitivity.PUBLIC: 0,
    Sensitivity.PERSONAL: 1,
    Sensitivity.SENSITIVE: 2,
    Sensitivity.PAYMENT_ADJACENT: 3,
}


def is_payment_data(text: str) -> bool:
    """Whether the text holds what could take money: numbers of cards and accounts, expiries, codes."""
    return looks_like_card(text) or _ACCOUNT.search(text) is not None


def speaks_of_sensitive(text: str) -> bool:
    """Whether the text speaks of health, belief, origin, orientation, politics or the like."""
    return _SENSITIVE.search(text) is not None


def classified(least: Sensitivity, value: str) -> Sensitivity:
    """How sensitive a value is under a key that says ``least``."""
    found = [least]
    if speaks_of_sensitive(value):
        found.append(Sensitivity.SENSITIVE)
    if _PAYMENT.search(value):
        found.append(Sensitivity.PAYMENT_ADJACENT)
    return max(found, key=_ORDER.__getitem__)
