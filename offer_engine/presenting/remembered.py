"""What is remembered of a shopper, as a presentation may say it: in closed forms, with the word for what it is.

What holds:
 1. A value is a size, an occasion of a list, or a name: letters alone, and no word that the verifier would refuse. Whatever
    else a fact holds (a price, an address, an instruction) is not said.
 2. A size says that it is one, so that it cannot be passed off as an amount.
 3. Wishes about delivery are left out: said by a shop, they would be promises.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from offer_engine.presenting.locales import templates
from offer_engine.presenting.verifier import Grounds, State, Verdict, Verifier

PREFIX: Final = "memory."
_FORMS: Final = {
    "name.preferred": re.compile(r"[^\W\d_]{2,20}(?:[ -][^\W\d_]{2,20})?"),
    "size.clothing": re.compile(r"XXS|XS|S|M|L|XL|XXL|XXXL"),
    "size.shoe": re.compile(r"(?:(?:EU|US|UK) )?[1-9][0-9]?(?:\.5)?", re.ASCII),
}


def remembered(slots: Mapping[str, str], locale: str) -> tuple[tuple[str, str], ...]:
    """Slots with the texts that they are filled with, of those values that have a closed form (1). Names as ``memory.KEY``."""
    said: dict[str, Any] = templates(locale)["remembered"]
    found = {}
    for key, form in _FORMS.items():
        value = slots.get(PREFIX + key, "")
        if form.fullmatch(value) and (key != "name.preferred" or _is_harmless(value, locale)):
            found[PREFIX + key] = str(said[key]).format(value=value)  # (2)
    occasion = said["gift.occasion"].get(slots.get(f"{PREFIX}gift.occasion", ""))
    if occasion is not None:
        found[f"{PREFIX}gift.occasion"] = occasion
    return tuple(sorted(found.items()))


def _is_harmless(name: str, locale: str) -> bool:
    verdict, _ = Verifier(Grounds(locale, ())).without_grammar(name.lower(), State(None))
    return verdict is Verdict.OK
