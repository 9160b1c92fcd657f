"""Which subdivisions there are: of a place that is none, only the country is known.

What holds:
 1. A code that is taken for a place is one: of the list where the country has one here, else of those that the policy speaks
    of. A law or a tax of one region is not passed by a code that nobody assigned.
"""

from collections.abc import Collection, Mapping
from typing import Final

# ISO 3166-2, of countries whose laws and taxes often differ within.
_CODES: Final = {
    "AT": "1 2 3 4 5 6 7 8 9",
    "AU": "ACT NSW NT QLD SA TAS VIC WA",
    "CA": "AB BC MB NB NL NS NT NU ON PE QC SK YT",
    "CH": "AG AI AR BE BL BS FR GE GL GR JU LU NE NW OW SG SH SO SZ TG TI UR VD VS ZG ZH",
    "DE": "BB BE BW BY HB HE HH MV NI NW RP SH SL SN ST TH",
    "US": "AK AL AR AS AZ CA CO CT DC DE FL GA GU HI IA ID IL IN KS KY LA MA MD ME MI MN MO MP MS MT NC ND NE NH NJ NM NV "
    "NY OH OK OR PA PR RI SC SD TN TX UM UT VA VI VT WA WI WV WY",
}
SUBDIVISIONS: Final[Mapping[str, frozenset[str]]] = {
    country: frozenset(f"{country}-{code}" for code in codes.split()) for country, codes in _CODES.items()
}


def region_of(country: str, said: str, spoken_of: Collection[str]) -> str | None:
    """``US-CA`` of ``CA``, `` ca`` or ``US-CA``; None for what is no place (1). ``spoken_of`` are the regions of the policy."""
    region = f"{country}-{said.strip().upper().removeprefix(f'{country}-')}"
    return region if region in SUBDIVISIONS.get(country, spoken_of) else None


def is_assigned(region: str) -> bool:
    """Whether there may be such a subdivision: where there is no list, any may be."""
    return region in SUBDIVISIONS.get(region[:2], (region,))
