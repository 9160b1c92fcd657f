"""Words as this package compares them: lower case, singular, without those that say nothing of a product."""

import re
from typing import Final

WORD: Final = re.compile(r"[^\W_]+(?:[.'’-][^\W_]+)*", re.UNICODE)
_PREFIX_LENGTH: Final = 4  # a shorter word matches whole: "pan" is not "pants"
_IRREGULAR: Final = {
    "knives": "knife",
    "shelves": "shelf",
    "scarves": "scarf",
    "leaves": "leaf",
    "loaves": "loaf",
    "halves": "half",
    "mice": "mouse",
    "feet": "foot",
    "children": "child",
    "men": "man",
    "women": "woman",
    "people": "person",
}
# What people say around a need. Words that describe goods (cheap, small, new) are not here.
_STOPWORDS: Final = (
    "a about above actually all also am an and another any anyone anything are as at available be because been before "
    "best both but buy by can cannot can't cost costs could currently deal deliver delivered delivery did do does "
    "doesn't doing don't down each either else enough etc even ever every find first for from fits get getting give "
    "go going good got great had has have having he hello help her here hey hi him his hopefully how i i'd i'll i'm "
    "i've ideally if in into is it it's its just kind kindly know least less let like likes lives look looking love "
    "lovely made make making many may maybe me might mine more most much must my need needed needs nice no not now of "
    "off ok okay on one ones only onto or order other our out over own perhaps please possible possibly prefer "
    "preferably price priced product products purchase rather really recommend right said same say see she ship "
    "shipped shipping shop should show so some somebody someone something sort soon spend still stuff such suggest "
    "sure take thank thanks than that that's the their them then there these they thing things think this those "
    "through to too try under until up us use used using very want wanted wants was way we we'd we're well were what "
    "what's when where which who will wish with within without won't would yes you you'd your yours budget money "
    "total altogether stock"
)
STOPWORDS: Final = frozenset(_STOPWORDS.split())


def stem(word: str) -> str:
    """The word's singular in lower case, near enough to compare by."""
    word = word.lower().replace("’", "'").removesuffix("'s")
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def words_of(text: str) -> list[str]:
    """The text's words, in order, in lower case."""
    return [match.group().lower().replace("’", "'") for match in WORD.finditer(text)]


def stems_of(text: str) -> set[str]:
    """What has_word() looks in: every word's stem, and the stems of a compound's parts."""
    found: set[str] = set()
    for word in words_of(text):
        found.add(stem(word))
        found.update(stem(part) for part in re.split("[-']", word) if part)
    return found


def has_word(stems: set[str], wanted: str) -> bool:
    """Whether a text with these stems holds the wanted one: whole, or all parts of a compound, or a long one as a beginning."""
    if wanted in stems:
        return True
    parts = wanted.split("-")
    if len(parts) > 1 and all(stem(part) in stems for part in parts):
        return True
    return len(wanted) >= _PREFIX_LENGTH and any(found.startswith(wanted) for found in stems)


def telling(words: list[str]) -> list[str]:
    """The words that say something of a product, each once."""
    kept = [word for word in words if word not in STOPWORDS and (len(word) > 1 or word.isdigit())]
    return list(dict.fromkeys(kept))
