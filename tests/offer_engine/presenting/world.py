"""Two offers of a shop, as they may be said, for tests."""

from functools import cache

from offer_engine.offers import Context, ContextLine, Offer, OfferKind
from offer_engine.presenting.sayables import sayable
from offer_engine.presenting.sentences import sentences
from offer_engine.presenting.verifier import Grounds, State, Verdict, Verifier

NOW_MS = 1_795_000_000_000
EXPIRES_MS = NOW_MS + 86_400_000
BRAND = "Harbour & Pine"
TERMS = "Terms of the shop apply."
OTHERS = ("Zephyr Grinder", "Larkspur Teapot - moss", "Welcome for members of the club")
KETTLE = Offer(
    "kettle",
    1,
    "Kettle week",
    OfferKind.PERCENT_OFF,
    "USD",
    percent_basis_points=1_500,
    minimum_subtotal_minor=5_000,
)
SHIPPING = Offer("shipping", 1, "The lorry leaves", OfferKind.FREE_SHIPPING, "USD")
CONTEXT = Context("shop", "psn_a", "USD", (ContextLine("v", "p", frozenset({"kettles"}), 7_900, 1),), NOW_MS)


@cache
def grounds(locale: str = "en", offers: int = 2) -> Grounds:
    """Both offers, or the first alone, in a language."""
    said = (
        sayable(KETTLE, CONTEXT, locale=locale, brand=BRAND, expires_ms=EXPIRES_MS, disclosures=(TERMS,)),
        sayable(SHIPPING, CONTEXT, locale=locale, brand=BRAND),
    )
    return Grounds(locale, said[:offers], BRAND, OTHERS)


def verdict_in_the_middle(sentence: str, locale: str) -> Verdict:
    """The verdict on a sentence of a text that has named the first offer."""
    return Verifier(grounds(locale)).sentence(sentence, State(subject=1, named=frozenset({1})))[0]


def whole(text: str, locale: str = "en", *, lists_alone: bool = False) -> Verdict:
    """The verdict on a whole text that has named the first offer before."""
    verifier = Verifier(grounds(locale))
    read = verifier.without_grammar if lists_alone else verifier.sentence
    state = State(subject=1, named=frozenset({1}))
    for sentence in sentences(text):
        verdict, state = read(sentence, state)
        if verdict is not Verdict.OK:
            return verdict
    return Verdict.OK
