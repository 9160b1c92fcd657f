"""Each rule of the verifier refuses what it is for, in every language; honest sentences pass."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offer_engine.presenting import lexicon as lexicons
from offer_engine.presenting import verifier as verifiers
from offer_engine.presenting.grammar import Grammar
from offer_engine.presenting.locales import LOCALES, grammar_data, locale_for, templates, words
from offer_engine.presenting.slots import FIELDS
from offer_engine.presenting.verifier import MAXIMUM_SENTENCE, Verdict, Verifier, filled
from offer_engine.snapshot import Snapshot, open_snapshot, sign_snapshot
from tests.offer_engine.presenting.benign import BENIGN
from tests.offer_engine.presenting.chatty import CHATTY, OF_OTHER_THINGS
from tests.offer_engine.presenting.honest import HONEST
from tests.offer_engine.presenting.paraphrases import PARAPHRASES
from tests.offer_engine.presenting.plain_promises import PLAIN_PROMISES
from tests.offer_engine.presenting.smuggled import SMUGGLED
from tests.offer_engine.presenting.world import EXPIRES_MS, KETTLE, grounds, verdict_in_the_middle, whole

REFUSED = [
    ("{{offer.1.title}} and {{offer.1.price", Verdict.MALFORMED_SLOT),
    ("{{offer.3.title}} is good.", Verdict.UNKNOWN_SLOT),
    ("{{offer.1.cost}} is good.", Verdict.UNKNOWN_SLOT),
    ("{{offer.2.expires}} is when it ends.", Verdict.UNKNOWN_SLOT),  # the second has no end
    ("You get {{offer.1.title}} for {{offer.1.price}}0.", Verdict.GLUED_SLOT),
    ("You get {{offer.1.title}} for {{offer.1.price}}k.", Verdict.GLUED_SLOT),
    ("You get {{offer.1.title}} for -{{offer.1.price}}.", Verdict.GLUED_SLOT),
    ("You get {{offer.1.title}} for {{offer.1.price}} {{offer.1.saving}}.", Verdict.GLUED_SLOT),
    ("{{offer.1.title}} and {{offer.2.title}} at {{offer.2.price}}.", Verdict.MISPLACED_VALUE),
    ("{{offer.1.title}} costs {{offer.2.price}}.", Verdict.MISPLACED_VALUE),
    ("{{offer.1.title}} is less than {{offer.1.price}}.", Verdict.TURNED_VALUE),
    ("{{offer.1.title}} does not cost {{offer.1.price}}.", Verdict.TURNED_VALUE),
    ("{{offer.1.title}} is nice and the other one is {{offer.1.price}}.", Verdict.TURNED_VALUE),
    ("{{offer.1.title}} is {{offer.1.price}} per mug.", Verdict.TURNED_VALUE),
    ("It is 79.", Verdict.NUMBER),
    ("It is ７９.", Verdict.NUMBER),
    ("It is ٧٩.", Verdict.NUMBER),
    ("It is Ⅻ.", Verdict.NUMBER),
    ("It is 七.", Verdict.NUMBER),
    ("It is ½.", Verdict.NUMBER),
    ("It is seventy-nine.", Verdict.NUMBER_WORD),
    ("It is seventynine.", Verdict.NUMBER_WORD),
    ("It is twofold.", Verdict.NUMBER_WORD),
    ("It is LXXIX.", Verdict.NUMBER_WORD),
    ("It is neunundsiebzig.", Verdict.NUMBER_WORD),
    ("It is sev enty.", Verdict.CLAIM),
    ("It is s e v e n t y.", Verdict.SPELLED_OUT),
    ("It is f-r-e-e.", Verdict.CLAIM),
    ("It is freeee.", Verdict.SPELLED_OUT),
    ("It is half of that.", Verdict.NUMBER_WORD),
    ("It is €.", Verdict.CURRENCY),
    ("Think in dollars.", Verdict.CURRENCY),
    ("Think in CHF.", Verdict.CURRENCY),
    ("It is ％.", Verdict.PERCENT),
    ("A few per cent.", Verdict.NUMBER_WORD),
    ("It is yours today.", Verdict.TIME),
    ("It lasts past Friday.", Verdict.TIME),
    ("It is a dеal.", Verdict.CHARACTER),  # a Cyrillic letter
    ("It is fr\u200bee.", Verdict.CHARACTER),
    ("It is \u202eeerf.", Verdict.CHARACTER),
    ("It is a \U000e0066ree thing.", Verdict.CHARACTER),
    ("It is guaranteed.", Verdict.CLAIM),
    ("Last. Chance.", Verdict.CLAIM),  # over the end of a sentence
    ("You get free shipping.", Verdict.CLAIM),  # the offer spoken of takes a percentage off
    ("Look at evil.example for more.", Verdict.ADDRESS),
    ("Write to me@evil.", Verdict.ADDRESS),
    ("Please give me the card and the pin.", Verdict.INSTRUCTION),
    ("The Zephyr Grinder is better.", Verdict.NAME),
    ("The zephyr grinder suits you.", Verdict.NAME),
    ("The MegaBrew suits you.", Verdict.NAME),
    ("Driftomat suits you.", Verdict.NAME),
    ("Der Kessel ist für Sie und die Familie.", Verdict.LANGUAGE),
    ("If it breaks, we fix it.", Verdict.WORDING),
    ("You save {{offer.1.price}} with {{offer.1.title}}.", Verdict.WORDING),  # what is to pay is no saving
    (
        "{{offer.1.title}} gives you {{offer.1.benefit}} and {{offer.1.saving}}.",
        Verdict.TURNED_VALUE,
    ),  # one is the other
    ("word " * (MAXIMUM_SENTENCE // 4), Verdict.TOO_LONG),
]


@pytest.fixture
def lists_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verifier without the grammar: what is left is the second net."""
    monkeypatch.setattr(Verifier, "sentence", Verifier.without_grammar)


@pytest.mark.parametrize(("text", "verdict"), REFUSED, ids=lambda value: value if isinstance(value, Verdict) else None)
def test_what_no_offer_grounds_is_refused(text: str, verdict: Verdict) -> None:
    assert whole(text) in {verdict, Verdict.WORDING}


@pytest.mark.usefixtures("lists_alone")
@pytest.mark.parametrize(
    ("text", "verdict"),
    [pair for pair in REFUSED if pair[1] is not Verdict.WORDING],
    ids=lambda value: value if isinstance(value, Verdict) else None,
)
def test_the_lists_refuse_it_by_its_rule_without_the_grammar_too(text: str, verdict: Verdict) -> None:
    assert whole(text) is verdict


def test_every_verdict_is_shown_by_a_text() -> None:
    assert {verdict for _, verdict in REFUSED} | {Verdict.OK, Verdict.NO_OFFER, Verdict.NO_PHRASE} == set(Verdict)
    for text in ("", "Hello there.", "{{offer.1.title}} is good.", "{{offer.1.disclosure}}"):
        assert Verifier(grounds()).verdict(text) is Verdict.NO_OFFER


@pytest.mark.usefixtures("lists_alone")
def test_what_an_offer_licenses_may_be_said_of_it_and_of_no_other() -> None:
    assert whole("{{offer.2.title}} gives you free shipping.") is Verdict.OK
    assert whole("{{offer.1.title}} gives you free shipping.") is Verdict.CLAIM
    assert whole("{{offer.1.title}} is a discount.") is Verdict.OK
    assert whole("{{offer.2.title}} is a discount.") is Verdict.CLAIM
    assert whole("{{offer.2.title}} is free.") is Verdict.CLAIM, "free shipping licenses nothing else that is free"


def share_refused(told: dict[str, tuple[str, ...]]) -> float:
    """How much of an honest set is refused, in all languages."""
    every = [(locale, text) for locale, texts in told.items() for text in texts]
    return sum(whole(text, locale) is not Verdict.OK for locale, text in every) / len(every)


def test_of_honest_sentences_that_the_grammar_was_not_written_by_few_are_refused() -> None:
    """The rates are in docs/offers-presenting.md. The second and third set speak of kettles, which no slot brought."""
    assert share_refused({locale: texts[1::2] for locale, texts in HONEST.items()}) <= 0.15
    assert share_refused({locale: texts[1::2] for locale, texts in BENIGN.items()}) <= 0.15
    assert share_refused({locale: texts[1::2] for locale, texts in CHATTY.items()}) <= 0.15


def test_talk_that_the_grammar_was_mended_by_passes() -> None:
    assert share_refused({locale: texts[::2] for locale, texts in CHATTY.items()}) == 0
    assert share_refused({locale: texts[::2] for locale, texts in OF_OTHER_THINGS.items()}) <= 0.02


def test_a_planted_grammar_without_talk_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for locale in LOCALES:
        joins = words(locale).joins_apostrophes
        silent = Grammar(grammar_data(locale) | {"talk": []}, joins_apostrophes=joins)
        monkeypatch.setattr(verifiers, "grammar", lambda _, silent=silent: silent)
        assert share_refused({locale: CHATTY[locale]}) == 1


@pytest.mark.usefixtures("lists_alone")
def test_of_honest_sentences_the_lists_refuse_few() -> None:
    assert share_refused({locale: texts[1::2] for locale, texts in BENIGN.items()}) < 0.1


@pytest.mark.parametrize(
    "told", [PARAPHRASES, PLAIN_PROMISES, SMUGGLED], ids=["paraphrases", "plain promises", "smuggled"]
)
def test_no_promise_in_plain_words_passes(told: dict[str, tuple[str, ...]]) -> None:
    passed = [text for locale, texts in told.items() for text in texts if whole(text, locale) is Verdict.OK]
    assert passed == []


@pytest.mark.usefixtures("lists_alone")
def test_a_planted_verifier_without_the_grammar_lets_promises_pass() -> None:
    told = [(locale, text) for locale, texts in PLAIN_PROMISES.items() for text in texts]
    assert sum(whole(text, locale) is Verdict.OK for locale, text in told) > len(told) / 2


@pytest.mark.parametrize("locale", LOCALES)
def test_a_language_has_every_text_and_every_kind_of_claim(locale: str) -> None:
    english = templates("en")
    assert templates(locale).keys() == english.keys()
    assert templates(locale)["said"].keys() == english["said"].keys()
    assert templates(locale)["values"].keys() == english["values"].keys()
    assert len(templates(locale)["months"]) == 12

    def places(said: dict[str, str]) -> dict[str, list[str]]:
        return {name: sorted(re.findall(r"\{([a-z_]+)\}", text)) for name, text in said.items()}

    assert places(templates(locale)["said"]) == places(english["said"])
    licences = {licence for kind, licence in words(locale).phrases.values() if kind == "claim"}
    assert licences == {licence for kind, licence in words("en").phrases.values() if kind == "claim"}


def test_a_language_that_is_not_known_is_english() -> None:
    assert [locale_for(tag) for tag in ("de-CH", "fr", "PT_br", "xx", "", "zh-Hant")] == [
        "de",
        "fr",
        "pt",
        "en",
        "en",
        "en",
    ]


@given(st.text(max_size=80))
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_verdict_and_figures_never_pass(text: str) -> None:
    verdict = verdict_in_the_middle(text, "en")
    assert verdict in Verdict
    if any(character.isnumeric() for character in text):
        assert verdict is not Verdict.OK


def test_a_value_is_never_read_for_slots() -> None:
    said = grounds()
    sly = replace(said.offers[0], values=(("title", "A {{offer.2.price}} B"),))
    assert filled("{{offer.1.title}}", replace(said, offers=(sly, said.offers[1]))) == "A {{offer.2.price}} B"


def test_values_are_texts_of_the_language() -> None:
    english, german = dict(grounds("en").offers[0].values), dict(grounds("de").offers[0].values)
    assert (english["price"], german["price"]) == ("$67.15", "67,15 $")
    assert (english["saving"], german["saving"]) == ("$11.85 off", "11,85 $ Rabatt")
    assert german["expires"].startswith("bis ")
    assert EXPIRES_MS
    assert set(english) <= set(FIELDS)


# A rule taken out, and a text that then passes: the tests above fail without each of them.
PLANTED = [
    ("_slots_exist", "Look at {{offer.1.title}} at {{offer.1.price}}k."),
    ("_signs_are_plain", "It is 79."),
    ("_values_are_not_turned", "{{offer.1.title}} is less than {{offer.1.price}}."),
    ("_words_may_be_said", "It is guaranteed."),
    ("_names_are_known", "The MegaBrew suits you."),
]


@pytest.mark.usefixtures("lists_alone")
@pytest.mark.parametrize(("rule", "text"), PLANTED, ids=[rule for rule, _ in PLANTED])
def test_a_planted_verifier_without_a_rule_lets_its_text_pass(
    rule: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert whole(text) is not Verdict.OK
    monkeypatch.setattr(Verifier, rule, lambda *_: Verdict.OK)
    assert whole(text) is Verdict.OK


@pytest.mark.usefixtures("lists_alone")
@pytest.mark.parametrize(
    ("place", "name", "text"),
    [
        ("lexicon", "is_number", "It is seventy."),
        ("lexicon", "is_roman", "Say LXXIX."),
        ("lexicon", "is_forbidden", "It is f-r-e-e."),
        ("lexicon", "joins_to_forbidden", "It is sev enty."),
        ("lexicon", "is_foreign", "Der Kessel ist für Sie und die Familie."),
        ("verifier", "is_spelled_out", "It is freeee."),
    ],
)
def test_a_planted_lexicon_without_a_rule_lets_its_text_pass(
    place: str, name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert whole(text) is not Verdict.OK
    if place == "verifier":
        monkeypatch.setattr(verifiers, name, lambda *_: False)
    else:
        monkeypatch.setattr(lexicons.lexicon("en"), name, lambda *_: False)
    if name in {"is_roman", "is_foreign"}:
        monkeypatch.setattr(Verifier, "_names_are_known", lambda *_: Verdict.OK)
    assert whole(text) is Verdict.OK


def test_a_planted_value_that_stands_anywhere_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{{offer.1.title}} costs {{offer.2.price}}."
    assert whole(text) is Verdict.MISPLACED_VALUE
    monkeypatch.setattr(Verifier, "_values_stand_by_their_offers", lambda *_: (Verdict.OK, 1))
    assert whole(text) is Verdict.OK


def test_what_may_be_said_is_signed_with_the_offer() -> None:
    said = grounds("fr").offers[0]
    snapshot = Snapshot("off_a", "shop", "psn_a", EXPIRES_MS, KETTLE, said)
    token = sign_snapshot(snapshot, b"k")
    opened = open_snapshot(token, b"k", brand="shop", subject="psn_a", now_ms=EXPIRES_MS - 1)
    assert opened.sayable == said
    plain = sign_snapshot(Snapshot("off_a", "shop", "psn_a", EXPIRES_MS, KETTLE), b"k")
    assert open_snapshot(plain, b"k", brand="shop", subject="psn_a", now_ms=EXPIRES_MS - 1).sayable is None
