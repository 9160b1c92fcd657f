"""When it has to be there: "by Friday", "before 5 December", "within 3 days". Days are the brand's; dates in figures alone
("5/12") mean different days to different people, and are asked about."""

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from commerce_api.asking.rest import Rest, as_matched

_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS: Final = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november"),
    "december",
)
_NUMBERS: Final = {
    name: number
    for number, name in enumerate(
        [
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
        ],
        start=1,
    )
}
_LEAD: Final = (
    r"\b(?P<lead>(?:to arrive |arriv(?:es?|ing) |here |delivered |ready )?"
    r"(?:by|before|until|till|no later than|not later than|on|for|this|in time for))\s+(?:the\s+)?"
)
_DAY: Final = "(?P<day>mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?"
_MONTH: Final = (
    "(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    "nov(?:ember)?|dec(?:ember)?)"
)
_WEEKDAY: Final = re.compile(rf"(?:{_LEAD})?(?P<next>\bnext\s+)?\b{_DAY}\b", re.IGNORECASE)
_ISO: Final = re.compile(rf"(?:{_LEAD})?(?P<iso>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})\b", re.IGNORECASE)
_DAY_MONTH: Final = re.compile(
    rf"(?:{_LEAD})?\b(?P<number>[0-9]{{1,2}})(?:st|nd|rd|th)?(?:\s+of)?\s+{_MONTH}\b"
    r"(?:,?\s+(?P<year>20[0-9]{2}))?",
    re.IGNORECASE,
)
_MONTH_DAY: Final = re.compile(
    rf"(?:{_LEAD})?\b{_MONTH}\s+(?P<number>[0-9]{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year>20[0-9]{{2}}))?",
    re.IGNORECASE,
)
_SPAN: Final = re.compile(
    r"\b(?P<lead>in|within|inside|at most|no more than)\s+(?:the next\s+)?(?P<number>[0-9]{1,2}|a|an|"
    + "|".join(_NUMBERS)
    + r")\s+(?P<unit>days?|weeks?|weekdays?|business days?)\b",
    re.IGNORECASE,
)
_NEAR_DAY: Final = re.compile(rf"(?:{_LEAD})?\b(?P<near>today|tonight|tomorrow|day after tomorrow)\b", re.IGNORECASE)
_CHRISTMAS: Final = re.compile(rf"(?:{_LEAD})(?P<feast>christmas eve|christmas|xmas)\b", re.IGNORECASE)
_UNCLEAR: Final = re.compile(
    rf"(?:{_LEAD})(?:[0-9]{{1,2}}[/.][0-9]{{1,2}}(?:[/.][0-9]{{2,4}})?|"
    rf"(?:the\s+)?(?:end of (?:the |this |next )?(?:week|month|year)|"
    rf"(?:this|next)?\s*(?:weekend|week|month)|[a-z]+'s birthday|my birthday|easter|thanksgiving|new year'?s?|holidays?))\b"
    r"|\b(?:asap|as soon as possible|urgent(?:ly)?|next week|next month)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Deadline:
    """The last day on which it may arrive, or that one was named which cannot be told from the words."""

    day: date | None = None
    unclear: bool = False


NO_DEADLINE: Final = Deadline()


def read_deadline(rest: Rest, today: date) -> Deadline:
    """Takes what is said of time out of the text. Of a weekday the next one is meant; a date that is over is unclear."""
    for pattern in (_ISO, _DAY_MONTH, _MONTH_DAY, _SPAN, _NEAR_DAY, _CHRISTMAS):
        found = rest.take(pattern)
        if found is not None:
            day = _day_of(found, today)
            earlier = timedelta(days=1 if _group(found, "lead").endswith("before") else 0)
            return Deadline(unclear=True) if day is None or day < today + earlier else Deadline(day - earlier)
    weekday = _weekday(rest, today)
    if weekday is not None:
        return Deadline(weekday)
    return Deadline(unclear=rest.take(_UNCLEAR) is not None)


def _weekday(rest: Rest, today: date) -> date | None:
    """The next such day after today; with ``next``, the one of the week after this."""
    for found in _WEEKDAY.finditer(rest.text):
        named, lead = as_matched(found["day"]), _group(found, "lead")
        whole = as_matched(found[0]).endswith("day")
        if not whole and not lead and not found["next"]:  # "sun hat", "wed": no day
            continue
        number = next((place for place, name in enumerate(_DAYS) if name.startswith(named[:3])), None)
        if number is None:
            continue
        ahead = (number - today.weekday()) % 7
        if found["next"]:
            ahead = number - today.weekday() + 7
        rest.drop(found)
        day = today + timedelta(days=ahead or 7)
        return day - timedelta(days=1) if lead.endswith("before") else day
    return None


def _day_of(found: "re.Match[str]", today: date) -> date | None:
    groups = found.groupdict()
    if groups.get("iso"):
        return _date(*map(int, groups["iso"].split("-")))
    if groups.get("unit"):
        number, unit = _number(groups["number"]), as_matched(groups["unit"])
        return today + timedelta(days=number * (7 if unit.startswith("week") and "day" not in unit else 1))
    if groups.get("near"):
        return today + timedelta(days={"tomorrow": 1, "day after tomorrow": 2}.get(as_matched(groups["near"]), 0))
    if groups.get("feast"):
        return _coming(24, 12, today)  # what is to be there by Christmas is to be there on its eve
    named = as_matched(groups["month"])[:3]
    month = next(
        (place for place, name in enumerate(_MONTHS, 1) if name.startswith(named)), 0
    )  # of month 0 no date is made
    number = int(groups["number"])
    return _date(int(groups["year"]), month, number) if groups.get("year") else _coming(number, month, today)


def _coming(number: int, month: int, today: date) -> date | None:
    day = _date(today.year, month, number)
    return day if day is None or day >= today else _date(today.year + 1, month, number)


def _date(year: int, month: int, number: int) -> date | None:
    try:
        return date(year, month, number)
    except ValueError:
        return None


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS.get(as_matched(text), 1)


def _group(found: "re.Match[str]", name: str) -> str:
    return as_matched(found.groupdict().get(name) or "").strip()
