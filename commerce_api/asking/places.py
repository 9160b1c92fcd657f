"""Where it goes: countries by their English names (ISO 3166-1, as CLDR has them), states and provinces of the US and Canada.

A town is never looked up: there are several Leeds. It is told back and its country asked for.
"""

import re
from dataclasses import dataclass
from typing import Final

from commerce_api.asking.rest import Rest, as_matched

_NAMES: Final = (
    "AD Andorra;AE United Arab Emirates,UAE,Emirates;AF Afghanistan;AG Antigua and Barbuda;AI Anguilla;AL Albania;"
    "AM Armenia;AO Angola;AR Argentina;AS American Samoa;AT Austria;AU Australia;AW Aruba;AX Åland;AZ Azerbaijan;"
    "BA Bosnia and Herzegovina,Bosnia;BB Barbados;BD Bangladesh;BE Belgium;BF Burkina Faso;BG Bulgaria;BH Bahrain;"
    "BI Burundi;BJ Benin;BM Bermuda;BN Brunei;BO Bolivia;BR Brazil;BS Bahamas;BT Bhutan;BW Botswana;BY Belarus;"
    "BZ Belize;CA Canada;CD DR Congo;CF Central African Republic;CG Congo;CH Switzerland;"
    "CI Ivory Coast,Côte d'Ivoire;CK Cook Islands;CL Chile;CM Cameroon;CN China;CO Colombia;CR Costa Rica;CU Cuba;"
    "CV Cape Verde;CW Curaçao;CY Cyprus;CZ Czechia,Czech Republic;DE Germany,Deutschland;DJ Djibouti;DK Denmark;"
    "DM Dominica;DO Dominican Republic;DZ Algeria;EC Ecuador;EE Estonia;EG Egypt;ER Eritrea;ES Spain;ET Ethiopia;"
    "FI Finland;FJ Fiji;FK Falkland Islands;FO Faroe Islands;FR France;GA Gabon;"
    "GB United Kingdom,UK,U.K.,Great Britain,Britain,England,Scotland,Wales,Northern Ireland;GD Grenada;"
    "GF French Guiana;GG Guernsey;GH Ghana;GI Gibraltar;GL Greenland;GM Gambia;GN Guinea;GP Guadeloupe;"
    "GQ Equatorial Guinea;GR Greece;GT Guatemala;GU Guam;GW Guinea-Bissau;GY Guyana;HK Hong Kong;HN Honduras;"
    "HR Croatia;HT Haiti;HU Hungary;ID Indonesia;IE Ireland,Republic of Ireland;IL Israel;IM Isle of Man;IN India;"
    "IQ Iraq;IR Iran;IS Iceland;IT Italy;JE Jersey;JM Jamaica;JP Japan;KE Kenya;KG Kyrgyzstan;KH Cambodia;"
    "KI Kiribati;KM Comoros;KN Saint Kitts and Nevis;KP North Korea;KR South Korea,Korea;KW Kuwait;KY Cayman Islands;"
    "KZ Kazakhstan;LA Laos;LB Lebanon;LC Saint Lucia;LI Liechtenstein;LK Sri Lanka;LR Liberia;LS Lesotho;"
    "LT Lithuania;LU Luxembourg;LV Latvia;LY Libya;MA Morocco;MC Monaco;MD Moldova;ME Montenegro;MG Madagascar;"
    "MH Marshall Islands;MK North Macedonia;ML Mali;MM Myanmar;MN Mongolia;MO Macao;MQ Martinique;MR Mauritania;"
    "MT Malta;MU Mauritius;MV Maldives;MW Malawi;MX Mexico;MY Malaysia;MZ Mozambique;NA Namibia;NC New Caledonia;"
    "NE Niger;NG Nigeria;NI Nicaragua;NL Netherlands,Holland;NO Norway;NP Nepal;NR Nauru;NZ New Zealand;OM Oman;"
    "PA Panama;PE Peru;PF French Polynesia;PG Papua New Guinea;PH Philippines;PK Pakistan;PL Poland;PR Puerto Rico;"
    "PS Palestine;PT Portugal;PW Palau;PY Paraguay;QA Qatar;RE Réunion;RO Romania;RS Serbia;RU Russia;RW Rwanda;"
    "SA Saudi Arabia;SB Solomon Islands;SC Seychelles;SD Sudan;SE Sweden;SG Singapore;SI Slovenia;SK Slovakia;"
    "SL Sierra Leone;SM San Marino;SN Senegal;SO Somalia;SR Suriname;SS South Sudan;SV El Salvador;SY Syria;"
    "SZ Eswatini;TC Turks and Caicos Islands;TD Chad;TG Togo;TH Thailand;TJ Tajikistan;TL Timor-Leste;"
    "TM Turkmenistan;TN Tunisia;TO Tonga;TR Türkiye,Turkey;TT Trinidad and Tobago;TV Tuvalu;TW Taiwan;TZ Tanzania;"
    "UA Ukraine;UG Uganda;US United States,United States of America,USA,U.S.A.,U.S.,US,America;UY Uruguay;"
    "UZ Uzbekistan;VA Vatican City;VC Saint Vincent;VE Venezuela;VG British Virgin Islands;VI U.S. Virgin Islands;"
    "VN Vietnam;VU Vanuatu;WS Samoa;XK Kosovo;YE Yemen;YT Mayotte;ZA South Africa;ZM Zambia;ZW Zimbabwe"
)
_REGION_NAMES: Final = (
    "US-AL Alabama;US-AK Alaska;US-AZ Arizona;US-AR Arkansas;US-CA California;US-CO Colorado;US-CT Connecticut;"
    "US-DE Delaware;US-FL Florida;US-HI Hawaii;US-ID Idaho;US-IL Illinois;US-IN Indiana;US-IA Iowa;US-KS Kansas;"
    "US-KY Kentucky;US-LA Louisiana;US-ME Maine;US-MD Maryland;US-MA Massachusetts;US-MI Michigan;US-MN Minnesota;"
    "US-MS Mississippi;US-MO Missouri;US-MT Montana;US-NE Nebraska;US-NV Nevada;US-NH New Hampshire;US-NJ New Jersey;"
    "US-NM New Mexico;US-NY New York;US-NC North Carolina;US-ND North Dakota;US-OH Ohio;US-OK Oklahoma;US-OR Oregon;"
    "US-PA Pennsylvania;US-RI Rhode Island;US-SC South Carolina;US-SD South Dakota;US-TN Tennessee;US-TX Texas;"
    "US-UT Utah;US-VT Vermont;US-VA Virginia;US-WA Washington;US-WV West Virginia;US-WI Wisconsin;US-WY Wyoming;"
    "US-DC District of Columbia,Washington DC,Washington D.C.;CA-AB Alberta;CA-BC British Columbia;CA-MB Manitoba;"
    "CA-NB New Brunswick;CA-NL Newfoundland;CA-NS Nova Scotia;CA-ON Ontario;CA-PE Prince Edward Island;"
    "CA-QC Quebec,Québec;CA-SK Saskatchewan;CA-NT Northwest Territories;CA-NU Nunavut;CA-YT Yukon"
)


def _by_name(table: str) -> dict[str, str]:
    rows = (entry.split(" ", 1) for entry in table.split(";"))
    return {name.strip().lower(): code for code, names in rows for name in names.split(",")}


_COUNTRIES: Final = _by_name(_NAMES)
_REGIONS: Final = _by_name(_REGION_NAMES)
COUNTRY_NAMES: Final = {entry[:2]: entry[3:].split(",", maxsplit=1)[0] for entry in _NAMES.split(";")}
_AMBIGUOUS: Final = {"georgia": ("GE", "US-GA"), "washington": ("US-WA", "US-DC"), "jersey": ("JE", "US-NJ")}
# As words of a sentence these are seldom places: they count only behind "to" or "in", with a capital letter.
_ALSO_WORDS: Final = frozenset(
    {"turkey", "china", "jersey", "chad", "us", "america", "jordan", "wales", "maine", "guinea"}
)
_SENT: Final = (
    r"(?:ship(?:ped|ping)?\s+to|deliver(?:ed|y)?\s+(?:to|in)|send(?:ing)?\s+(?:it\s+)?to|sent\s+to|"
    r"lives?\s+in|based\s+in)"
)
_LEAD: Final = rf"(?:{_SENT}|arrives?\s+in|here\s+in|in|to|near|at|from|for)"
_NAME_OF: Final = "|".join(
    re.escape(name) for name in sorted({*_COUNTRIES, *_REGIONS, "georgia"}, key=len, reverse=True)
)
_KNOWN: Final = re.compile(
    rf"(?:\b(?P<lead>{_LEAD})\s+(?:the\s+)?)?(?<![\w-])(?P<name>{_NAME_OF})(?![\w-])", re.IGNORECASE
)
_TOWN_BEFORE: Final = re.compile(
    r"(?:\b(?:in|to|at|near|from)\s+)(?P<town>[A-Z][\w'.-]*(?:\s+[A-Z][\w'.-]*){0,3}),?\s*$"
)
_STATE_CODE: Final = re.compile(  # a town begins where a word does: tried at each letter, a long word is read as often
    rf"(?<![\w'.-])'?(?:{_LEAD}\s+)?(?P<town>[A-Z][\w'.-]*(?:\s+[A-Z][\w'.-]*){{0,3}}),\s*(?P<code>[A-Z]{{2}})\b"
    r"(?:\s+[0-9]{5}(?:-[0-9]{4})?\b)?"
)
_TOWN: Final = re.compile(rf"\b(?i:{_SENT}|in|to|near|at)\s+(?P<town>[A-Z][\w'.-]*(?:[ -][A-Z][\w'.-]*){{0,3}})")
_SENT_TO: Final = re.compile(
    rf"\b{_SENT}\s+(?!my\b|me\b|the\b|our\b|a\b|an\b|us\b)(?P<town>[^\W\d_][\w'-]+)", re.IGNORECASE
)
_TOWN_LENGTH: Final = 60


@dataclass(frozen=True, slots=True)
class Destination:
    """Country and region as far as they were said; ``unplaced`` is a name whose country was not."""

    country: str | None = None
    region: str | None = None
    unplaced: str | None = None


NO_DESTINATION: Final = Destination()


def read_destination(rest: Rest) -> Destination:
    """Takes a place out of the text."""
    coded = _STATE_CODE.search(rest.text)
    if coded is not None:
        region = next((code for code in (f"US-{coded['code']}", f"CA-{coded['code']}") if code in _REGION_CODES), None)
        if region is not None:
            rest.drop(coded)
            return Destination(region[:2], region)
    for found in _KNOWN.finditer(rest.text):
        name = found["name"]
        if as_matched(name) in _ALSO_WORDS and not (found["lead"] and name[0].isupper()):
            continue
        return _known(rest, found)
    town = _TOWN.search(rest.text)
    if town is not None:
        rest.drop(town)
        return Destination(unplaced=town["town"][:_TOWN_LENGTH])
    sent = rest.take(_SENT_TO)
    return Destination(unplaced=sent["town"][:_TOWN_LENGTH]) if sent is not None else NO_DESTINATION


def _known(rest: Rest, found: "re.Match[str]") -> Destination:
    name, before = as_matched(found["name"]), rest.text[: found.start()]
    after = rest.text[found.end() :]
    rest.text = before + " | " + after
    town = _TOWN_BEFORE.search(before)  # "in Leeds, England": the town is said, and its country too
    if town is not None:
        rest.text = before[: town.start()] + " | " + after
    if name in _AMBIGUOUS:
        return Destination(unplaced=found["name"])
    if name in _COUNTRIES:
        return Destination(_COUNTRIES[name])
    region = _REGIONS[name]
    return Destination(region[:2], region)


_REGION_CODES: Final = frozenset(_REGIONS.values()) | {"US-GA"}
