"""What the fields of a policy are made of: codes, ids, amounts and plain text, each with what it says where it is wrong."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from audit.event import looks_like_card
from commerce_api.catalogue.feed_rows import Refusal
from commerce_api.catalogue.feed_text import is_plain
from commerce_api.catalogue.feed_url import safe_url
from commerce_api.regions import is_assigned
from tokenization.money import MoneyInvalid, exponent

MAXIMUM_AMOUNT_MINOR: Final = 10**11  # as the highest price of a feed
FULL_BASIS_POINTS: Final = 10_000

# ISO 3166-1 alpha-2, officially assigned, and XK, which postal services use for Kosovo.
_COUNTRY_CODES: Final = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY "
    "BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK "
    "FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR "
    "IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK "
    "ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
    "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF "
    "TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW"
)
COUNTRIES: Final = frozenset(_COUNTRY_CODES.split())
_REGION: Final = re.compile("[A-Z]{2}(?:-[A-Z0-9]{1,3})?")


def _country(text: str) -> str:
    if text not in COUNTRIES:
        raise ValueError("write an ISO 3166-1 alpha-2 country code, such as US or GB")
    return text


def _region(text: str) -> str:
    if text[:2] not in COUNTRIES or not _REGION.fullmatch(text) or not (len(text) == 2 or is_assigned(text)):
        raise ValueError("write a country code, or one with an ISO 3166-2 subdivision, such as US-CA")
    return text


def _currency(text: str) -> str:
    try:
        exponent(text)
    except MoneyInvalid:
        raise ValueError("write an ISO 4217 currency code, such as USD") from None
    return text


def _id(text: str) -> str:
    if looks_like_card(text):  # it could never be recorded
        raise ValueError("write an id with fewer than 13 digits in a row; dashes and points between them do not count")
    return text


def _plain(text: str) -> str:
    if not is_plain(text):
        raise ValueError("write plain text on one line: no HTML tags, no invisible characters, no space at the ends")
    return text


def _plain_paragraphs(text: str) -> str:
    if not all(is_plain(line) for line in text.split("\n")):
        raise ValueError("write plain text: no HTML tags, no invisible characters, no space at the ends of a line")
    return text


def _public_url(text: str) -> str:
    try:
        url = safe_url(text, "")
    except Refusal:
        url = None
    if url is None or not url.startswith("https://"):
        raise ValueError("write a public https address with a host name")
    return url


Country = Annotated[str, AfterValidator(_country)]
Region = Annotated[str, AfterValidator(_region)]
Currency = Annotated[str, AfterValidator(_currency)]
Id = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"), AfterValidator(_id)]
Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
Paragraphs = Annotated[str, Field(max_length=5_000), AfterValidator(_plain_paragraphs)]
Url = Annotated[str, Field(max_length=2_000), AfterValidator(_public_url)]
AmountMinor = Annotated[int, Field(ge=0, le=MAXIMUM_AMOUNT_MINOR)]
PositiveAmountMinor = Annotated[int, Field(gt=0, le=MAXIMUM_AMOUNT_MINOR)]
PercentBasisPoints = Annotated[int, Field(gt=0, le=FULL_BASIS_POINTS)]
Days = Annotated[int, Field(ge=0, le=365)]


class Part(BaseModel):
    """Strict, closed and frozen: a misspelt field is an error, ``"5"`` is no number, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)
