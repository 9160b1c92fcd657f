"""What the grammar has, it says as written; what it lacks, nobody says; and there is nothing in it to promise with."""

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from offer_engine.presenting import grammar as grammars
from offer_engine.presenting.grammar import ASKED, Grammar, Pattern, grammar
from offer_engine.presenting.lexicon import lexicon
from offer_engine.presenting.locales import LOCALES, folded, grammar_data, phrases, words
from offer_engine.presenting.prompts import prompt_for
from offer_engine.presenting.remembered import remembered
from offer_engine.presenting.verifier import Verdict, Verifier
from tests.offer_engine.presenting.world import BRAND, grounds, verdict_in_the_middle

# Verbs and words by which a shop binds itself, and by which it agrees, as they would be said; no grammar has them at all.
PROMISING = {
    "en": "fix mend repair refund return replace swap send ship deliver keep throw cover wait hold reserve"
    " promise pledge owe wrap yes okay certainly absolutely agreed always never ever nothing must",
    "de": "repariere reparieren erstatten ersetzen tauschen umtauschen schicken senden liefern behalten halten warten aufheben"
    " drauflegen schenken verspreche garantiere reservieren einpacken ja sicher natürlich einverstanden immer niemals",
    "fr": "réparons réparer rembourser remplacer échanger envoyer livrer garder gardons attendre ajoutons reprendre reprenons"
    " promets promettons offrons emballer réserver oui certainement jamais toujours",
    "es": "arreglar arreglamos reembolsar reemplazar cambiamos enviar mandar guardar regalar devolver recogemos"
    " prometo garantizo reservar apartar envolver seguro siempre jamás",
    "it": "riparare ripariamo rimborsare sostituire cambiamo spedire mandare tenere aspettare regalare restituire riprendiamo"
    " prometto garantisco riservare incartare certo certamente mai",
    "nl": "repareren terugbetalen vervangen ruilen sturen bezorgen houden wachten bewaren erbij teruggeven terugnemen"
    " beloof garandeer reserveren inpakken ja altijd nooit",
    "pt": "consertar consertamos reembolsar substituir trocamos enviar mandar guardar oferecemos devolver aceitamos"
    " prometo garanto reservar embrulhar sim jamais nunca",
}
# Verbs that the grammar has, and what each must stand beside.
BOUND = {
    "en": "gives brings includes provides adds saves lowers reduces applies costs pay put add",
    "de": "bringt bietet verschafft spart senkt reduziert gilt kostet zahlen legen",
    "fr": "apporte économise réduit baisse vaut coûte payez ajoute mette",
    "es": "da ofrece aporta ahorra reduce baja vale cuesta paga añada ponga",
    "it": "offre porta risparmia riduce abbassa vale costa paga aggiunga metta",
    "nl": "geeft brengt biedt levert bespaart verlaagt geldt kost betaalt leggen",
    "pt": "oferece traz poupa reduz baixa vale custa paga ponha adicione",
}
# Words of giving, lasting, fitting, helping and belonging: in no talk, where things, people and occasions are named.
NOT_IN_TALK = {
    "en": "get gets receive comes last lasts stays fits helps free safe available works belongs",
    "de": "bekommen erhalten dazu hält bleibt passt hilft gesund gehört inklusive schmeckt",
    "fr": "recevez obtenez ajoute tient reste dure aide sain appartient convient offert gratuit",
    "es": "recibe obtiene añade dura queda ayuda llega sano pertenece viene incluye encaja",
    "it": "riceve ottiene aggiunge dura resta aiuta arriva sano appartiene viene include",
    "nl": "krijgt ontvangt erbij voegt blijft past helpt gezond hoort smaakt gratis",
    "pt": "recebe obtém acrescenta dura fica ajuda chega saudável pertence vem inclui combina",
}
# The parts that name what no slot brought. They stand in talk alone.
THINGS = ("goods", "drink")
TEA = {"es": {"te"}, "it": {"te"}}  # a pronoun too, once accents are gone
MEMORY = {
    "memory.name.preferred": "Robin",
    "memory.size.clothing": "M",
    "memory.size.shoe": "EU 42",
    "memory.gift.occasion": "wedding",
}
BASKETS = {
    "basket",
    "cart",
    "warenkorb",
    "panier",
    "cesta",
    "compra",
    "carrito",
    "pedido",
    "carrello",
    "mandje",
    "carrinho",
}
AGREEING = {
    "en": "Yes.|Sure.|Of course.|Certainly.|Okay.|Agreed.|Fine.|No problem.|You can.|It is yours.|It is for you.|For you.",
    "de": "Ja.|Klar.|Natürlich.|Sicher.|Gern.|Gerne.|Einverstanden.|Alles klar.|In Ordnung.|Kein Problem.|Es ist für Sie.",
    "fr": "Oui.|Bien sûr.|D'accord.|Volontiers.|Entendu.|Avec plaisir.|Pas de problème.|C'est pour vous.",
    "es": "Sí.|Claro.|Por supuesto.|De acuerdo.|Vale.|Con gusto.|Sin problema.|Está bien.|Es para usted.",
    "it": "Sì.|Certo.|Va bene.|D'accordo.|Volentieri.|Certamente.|Senz'altro.|Nessun problema.|È per lei.",
    "nl": "Ja.|Natuurlijk.|Zeker.|Graag.|Akkoord.|Goed.|Prima.|Geen probleem.|Dat kan.|Het is voor u.",
    "pt": "Sim.|Claro.|Com certeza.|De acordo.|Está bem.|Combinado.|Com prazer.|Sem problema.|É para si.",
}

# Promises put together of the grammar's own words, by someone who knew them.
OWN_WORDS = {
    "en": (
        "You can choose both.",
        "Both are for you.",
        "You get both with {{offer.1.title}}.",
        "{{offer.1.title}} is for you and your family.",
        "Choose both.",
        "What you pay is up to you.",
        "The price is your choice.",
        "{{offer.1.title}} gives you {{offer.1.benefit}} and the other one too.",
        "{{offer.1.title}} gives you {{offer.1.benefit}} and {{offer.1.benefit}}.",
        "With {{offer.1.title}} you get {{offer.1.benefit}} and with {{offer.1.title}} you get {{offer.1.benefit}}.",
        "You have both with it.",
        "I have something for your family.",
        "We have something for you.",
        "I can help you with anything.",
        "It is right for your heart.",
        "{{offer.1.title}} is good for you and your family.",
        "You save with it.",
        "It gives you more.",
        "You get more with {{offer.1.title}}.",
        "There is more for you.",
        "You can have it.",
        "{{offer.1.title}} comes to what you want.",
        "Without it you pay what you like.",
        "If you are not happy, we look at it again.",
        "I am here for you if you need anything else.",
        "You are welcome to it.",
        "We can choose the price together.",
        "We could decide the price for you.",
        "Your order is what you want.",
    ),
    "de": (
        "Sie können beide wählen.",
        "Beide sind für Sie.",
        "Nehmen Sie beide.",
        "Sie bekommen beides mit {{offer.1.title}}.",
        "Den Preis entscheiden Sie.",
        "Sie entscheiden den Preis.",
        "Das bringt Ihnen mehr.",
        "Ich habe etwas für Ihre Familie.",
        "Es gibt noch mehr für Sie.",
        "Wir finden gemeinsam einen Preis.",
        "Sie haben es.",
        "Es ist Ihre.",
        "Sie zahlen, was Sie möchten.",
    ),
    "fr": (
        "Prenez les deux.",
        "Les deux sont pour vous.",
        "Vous avez les deux.",
        "Le prix dépend de vous.",
        "C'est à vous.",
        "J'ai autre chose pour vous.",
        "Il y a plus pour vous.",
        "Vous payez ce que vous voulez.",
        "Tout est à vous.",
    ),
    "es": (
        "Elija ambas.",
        "Ambas son para usted.",
        "El precio depende de usted.",
        "Es suya.",
        "Tengo algo más para usted.",
        "Hay más para usted.",
        "Usted paga lo que quiere.",
        "Todo es suyo.",
        "El precio queda en sus manos.",
    ),
    "it": (
        "Scelga entrambe.",
        "Entrambe sono per lei.",
        "Il prezzo dipende da lei.",
        "È sua.",
        "Ho altro per lei.",
        "C'è di più per lei.",
        "Paga quello che vuole.",
        "Tutto è suo.",
    ),
    "nl": (
        "Kies beide.",
        "Beide zijn voor u.",
        "De prijs is aan u.",
        "Het is van u.",
        "Ik heb nog iets voor u.",
        "Er is meer voor u.",
        "U betaalt wat u wilt.",
        "Dat is van u.",
    ),
    "pt": (
        "Escolha ambas.",
        "Ambas são para si.",
        "O preço depende de si.",
        "É sua.",
        "Tenho algo mais para si.",
        "Há mais para si.",
        "Paga o que quiser.",
        "Tudo é seu.",
    ),
}


# Promises put together of the words of talk, by someone who knew them.
TALKED = {
    "en": (
        "With {{offer.1.title}} you get {{offer.1.benefit}} and a kettle.",
        "{{offer.1.title}} gives you {{offer.1.benefit}}, so it is about a cup of coffee.",
        "You have a cup of coffee with it.",
        "It is a present for your mother.",
        "It is about a present for your mother.",
        "There is a cup for your mother.",
        "The kettle is for you.",
        "Is the kettle for you.",
        "Do you have a kettle and a cup with it?",
        "Since you are looking for a kettle, {{offer.1.title}} gives you {{offer.1.benefit}}.",
        "{{offer.1.title}} could be something for you because you are buying a kettle for {{offer.1.price}}.",
        "Many people like this kettle.",
        "Many people love {{offer.1.title}}.",
        "A cup of coffee is a lovely thing with the offer.",
        "A cup of coffee in peace is for you.",
        "Congratulations on your kettle.",
        "Congratulations!",
        "If your kettle leaks, tell me and we look at it.",
        "Would you like a cup with it?",
        "Choose a kettle and a cup.",
        "A colleague knows how to look for a kettle for you.",
        "You have a vase and something elegant.",
        "Our customer service looks at your kettle.",
        "Would you like a cup of coffee?",
        "Would you like to wear some shoes at home?",
        "When would you like the kettle?",
    ),
    "de": (
        "Mit {{offer.1.title}} bekommen Sie {{offer.1.benefit}} und eine Tasse Kaffee.",
        "Es ist ein Geschenk für Ihre Mutter.",
        "Es geht um ein Geschenk für Sie.",
        "Es gibt eine Tasse für Ihre Mutter.",
        "Der Wasserkocher ist für Sie.",
        "Ist der Wasserkocher für Sie.",
        "Da Sie einen Wasserkocher suchen, bringt Ihnen {{offer.1.title}} {{offer.1.benefit}}.",
        "Viele Menschen mögen diesen Wasserkocher.",
        "Eine Tasse Kaffee ist für Sie da.",
        "Sie haben einen Wasserkocher und eine Tasse.",
        "Wählen Sie eine Tasse.",
        "Herzlichen Glückwunsch!",
        "Wenn Ihr Wasserkocher undicht ist, schauen wir darauf.",
        "Fragen Sie den Kundendienst.",
        "Trinken Sie einen Tee?",
        "Möchten Sie eine Tasse?",
        "Was trinken Sie?",
    ),
    "fr": (
        "Avec {{offer.1.title}} vous obtenez {{offer.1.benefit}} et une tasse de café.",
        "C'est un cadeau pour votre mère.",
        "C'est pour votre mère.",
        "Il s'agit d'un cadeau pour vous.",
        "Il y a une tasse pour votre mère.",
        "Le cadeau est pour votre mère.",
        "Le cadeau est-il pour votre mère.",
        "Comme vous cherchez une bouilloire, {{offer.1.title}} vous donne {{offer.1.benefit}}.",
        "Beaucoup de gens aiment cette bouilloire.",
        "Vous avez une bouilloire et une tasse.",
        "Choisissez une tasse.",
        "Félicitations !",
        "Buvez-vous un thé ?",
        "Voulez-vous une tasse ?",
        "Quand voulez-vous un cadeau ?",
    ),
    "es": (
        "Con {{offer.1.title}} obtiene {{offer.1.benefit}} y una taza de café.",
        "Es un regalo para su madre.",
        "El regalo es para su madre.",
        "Es para su madre.",
        "Hay una taza para su madre.",
        "Usted ya tiene una taza.",
        "Se trata de un regalo para usted.",
        "Como busca un hervidor, {{offer.1.title}} le da {{offer.1.benefit}}.",
        "A mucha gente le gusta este hervidor.",
        "Elija una taza.",
        "¡Felicidades!",
        "¿Toma una taza?",
        "¿Toma un café?",
        "¿Quiere una taza?",
    ),
    "it": (
        "Con {{offer.1.title}} ottiene {{offer.1.benefit}} e una tazza di caffè.",
        "È un regalo per sua madre.",
        "Il regalo è per sua madre.",
        "È per sua madre.",
        "C'è una tazza per sua madre.",
        "Lei ha già una tazza.",
        "Si tratta di un regalo per lei.",
        "Siccome cerca un bollitore, {{offer.1.title}} le dà {{offer.1.benefit}}.",
        "A molte persone piace questo bollitore.",
        "Scelga una tazza.",
        "Congratulazioni!",
        "Beve un caffè?",
        "Vuole una tazza?",
        "Quando vuole un regalo?",
    ),
    "nl": (
        "Met {{offer.1.title}} krijgt u {{offer.1.benefit}} en een kopje koffie.",
        "Het is een cadeau voor uw moeder.",
        "Is het cadeau voor uw moeder.",
        "Er is een kopje voor uw moeder.",
        "Het gaat om een cadeau voor u.",
        "De waterkoker is voor u.",
        "U hebt een waterkoker en een kopje.",
        "Omdat u een waterkoker zoekt, geeft {{offer.1.title}} u {{offer.1.benefit}}.",
        "Veel mensen houden van deze waterkoker.",
        "Kies een kopje.",
        "Gefeliciteerd!",
        "Drinkt u een kopje thee?",
        "Wilt u een kopje?",
        "Wanneer wilt u een cadeau?",
    ),
    "pt": (
        "Com {{offer.1.title}} tem {{offer.1.benefit}} e uma chávena de café.",
        "É um presente para a sua mãe.",
        "O presente é para a sua mãe.",
        "É para a sua mãe.",
        "Há uma chávena para a sua mãe.",
        "Você já tem uma chávena.",
        "Trata-se de um presente para si.",
        "Como procura uma chaleira, {{offer.1.title}} dá-lhe {{offer.1.benefit}}.",
        "Muita gente gosta desta chaleira.",
        "Escolha uma chávena.",
        "Parabéns!",
        "Toma um café?",
        "Quer uma chávena?",
        "Quando quer um presente?",
    ),
}


def said(pattern: Pattern, rng: Random) -> Iterator[str]:
    """The tokens of one way of saying a pattern."""
    for element in rng.choice(pattern.options):
        if isinstance(element, Pattern):
            yield from said(element, rng)
        else:
            yield element


def ends(pattern: Pattern, tokens: list[str], place: int) -> set[int]:
    """Where a pattern that begins at a place may end: read off the pattern, without the machine."""
    found: set[int] = set()
    for option in pattern.options:
        here = {place}
        for element in option:
            if isinstance(element, Pattern):
                here = {end for start in here for end in ends(element, tokens, start)}
            else:
                here = {start + 1 for start in here if start < len(tokens) and tokens[start] == element}
        found |= here
    return found


def has(own: Grammar, tokens: list[str]) -> bool:
    """Whether the patterns have a sentence, read off them: leads, a clause, tails, a joiner, and again; or talk, again.

    The mark of a question may stand after each.
    """

    def after(patterns: tuple[Pattern, ...], starts: set[int]) -> set[int]:
        return {end for start in starts for pattern in patterns for end in ends(pattern, tokens, start)}

    def again(patterns: tuple[Pattern, ...], starts: set[int]) -> set[int]:
        while (more := after(patterns, starts) - starts) != set():
            starts = starts | more
        return starts

    def marked(places: set[int]) -> set[int]:
        return places | {place + 1 for place in places if tokens[place : place + 1] == [ASKED]}

    talked = {0}
    while (more := marked(after(own.talk, talked)) - talked) != set():
        talked |= more
    if tokens and len(tokens) in talked:
        return True
    starts, done = {0}, set[int]()
    while True:
        finished = marked(again(own.tails, after(own.clauses, again(own.leads, starts))))
        more = finished | after(own.joiners, finished)
        if more <= starts:
            return len(tokens) in done | finished
        done |= finished
        starts |= more


def sentence_of(own: Grammar, rng: Random) -> list[str]:
    """A sentence of one or two clauses, with or without leads and tails, or of talk."""
    tokens: list[str] = []
    if rng.random() < 0.3:
        return [token for _ in range(rng.choice((1, 1, 2))) for token in said(rng.choice(own.talk), rng)]
    for number in range(rng.choice((1, 1, 2))):
        for patterns, share in ((own.joiners, number), (own.leads, 0.3), (own.clauses, 1), (own.tails, 0.2)):
            if rng.random() < share:
                tokens += said(rng.choice(patterns), rng)
    return tokens


def _memory(token: str) -> str:
    return "{" + token + "}" if token.startswith("{memory.") else token


def written(tokens: list[str]) -> str:
    """A sentence's tokens as a text of the first offer."""
    return " ".join(
        BRAND if token == grammars.BRAND else re.sub(r"\{([a-z_]+)\}", r"{{offer.1.\1}}", _memory(token))
        for token in tokens
    )


@pytest.mark.parametrize("locale", LOCALES)
def test_the_machine_reads_what_the_patterns_say(locale: str) -> None:
    own, rng = grammar(locale), Random(locale)
    some_words = sorted(own.vocabulary)
    agreed = set()
    for _ in range(60):
        tokens = sentence_of(own, rng)
        assert own.accepts(tokens), tokens
        assert has(own, tokens), tokens
        changed = list(tokens)
        if changed:
            place = rng.randrange(len(changed))
            changed[place : place + rng.randrange(2)] = [rng.choice(some_words)]
        assert own.accepts(changed) is has(own, changed), changed
        agreed |= {own.accepts(tokens), own.accepts(changed)}
    assert agreed == {True, False}, "both answers must have come, or nothing was compared"


@pytest.mark.parametrize("locale", LOCALES)
def test_a_word_that_the_grammar_lacks_is_refused_wherever_it_stands(locale: str) -> None:
    own, rng = grammar(locale), Random(locale)
    for _ in range(200):
        tokens = sentence_of(own, rng)
        tokens.insert(rng.randrange(len(tokens) + 1), rng.choice(("teapot", "qx", "{secret}")))
        assert not own.accepts(tokens)


@pytest.mark.parametrize("locale", LOCALES)
def test_there_is_no_word_to_promise_with_nor_to_agree_with(locale: str) -> None:
    assert {folded(word) for word in PROMISING[locale].split()} & grammar(locale).vocabulary == set()
    for text in AGREEING[locale].split("|"):
        assert verdict_in_the_middle(text, locale) is not Verdict.OK, text


@pytest.mark.parametrize("locale", LOCALES)
def test_nothing_can_be_promised_in_the_grammar_s_own_words(locale: str) -> None:
    """Of 85 that were tried 5 passed; 4 are closed, and docs/offers-presenting.md names the other."""
    assert [text for text in OWN_WORDS[locale] if verdict_in_the_middle(text, locale) is Verdict.OK] == []


@pytest.mark.parametrize("locale", LOCALES)
def test_talk_of_things_can_promise_none(locale: str) -> None:
    assert [text for text in TALKED[locale] if verdict_in_the_middle(text, locale) is Verdict.OK] == []


def words_of(patterns: Iterable[Pattern]) -> set[str]:
    """Every word and slot of patterns, wherever it stands."""
    found: set[str] = set()
    for pattern in patterns:
        for element in itertools.chain.from_iterable(pattern.options):
            found |= words_of([element]) if isinstance(element, Pattern) else {element}
    return found


def faults_of_talk(locale: str, data: dict[str, Any]) -> set[str]:
    """The words and slots of a language's data that stand where they must not: all of them are looked at, not a sample."""
    own = Grammar(data, joins_apostrophes=words(locale).joins_apostrophes)
    things = words_of(own.parse(data["parts"][part]) for part in THINGS)
    giving = {folded(word) for word in " ".join((BOUND[locale], NOT_IN_TALK[locale], PROMISING[locale])).split()}
    talk = words_of(own.talk)
    slots = {word for word in talk if word.startswith("{")} - {"{title}"}
    elsewhere = words_of((*own.leads, *own.clauses, *own.tails, *own.joiners)) - TEA.get(locale, set())
    return slots | (talk & giving) | (things & elsewhere)


@pytest.mark.parametrize("locale", LOCALES)
def test_things_are_named_only_apart_from_what_an_offer_gives(locale: str) -> None:
    assert faults_of_talk(locale, grammar_data(locale)) == set()


@pytest.mark.parametrize(
    ("name", "pattern", "fault"),
    [
        ("clauses", "it gives you a <goods>", "kettle"),
        ("tails", "with <drink>", "coffee"),
        ("talk", "a <goods> for {price}", "{price}"),
        ("talk", "you get a <goods>", "get"),
        ("talk", "we keep a <goods>", "keep"),
    ],
)
def test_a_planted_thing_beside_a_word_of_giving_is_seen(name: str, pattern: str, fault: str) -> None:
    data = grammar_data("en")
    assert fault in faults_of_talk("en", data | {name: [*data[name], pattern]})


@pytest.mark.parametrize("locale", LOCALES)
def test_a_question_is_one_only_with_its_mark(locale: str) -> None:
    own, rng = grammar(locale), Random(locale)
    asked = [pattern for pattern in own.talk if ASKED in words_of([pattern])]
    assert len(asked) > 5
    for pattern in asked:
        for _ in range(20):
            tokens = list(said(pattern, rng))
            assert own.accepts(tokens)
            if tokens[-1] == ASKED:
                assert not own.accepts(tokens[:-1]), tokens


def test_a_planted_question_without_its_mark_is_a_statement() -> None:
    data = grammar_data("es")
    unmarked = Grammar(data | {"talk": [pattern.replace("?", "") for pattern in data["talk"]]}, joins_apostrophes=False)
    told = ["es", "para", "su", "madre"]
    assert unmarked.accepts(told)
    assert not grammar("es").accepts(told)
    assert grammar("es").accepts([*told, ASKED])


@pytest.mark.parametrize(
    ("ending", "verdict"),
    [
        ("?", Verdict.OK),
        ("?!", Verdict.OK),
        (' ?"', Verdict.OK),
        ("? ", Verdict.OK),
        (".", Verdict.WORDING),
        ("", Verdict.WORDING),
        ("!", Verdict.WORDING),
    ],
)
def test_the_mark_of_a_question_is_read_at_the_end(ending: str, verdict: Verdict) -> None:
    assert verdict_in_the_middle("Does your mother drink coffee" + ending, "en") is verdict


@pytest.mark.parametrize("locale", LOCALES)
def test_a_word_of_giving_or_costing_stands_only_beside_a_slot(locale: str) -> None:
    own, rng = grammar(locale), Random(locale)
    bound = {folded(word) for word in BOUND[locale].split()}
    seen = set()
    for pattern in (*own.leads, *own.clauses, *own.tails, *own.joiners, *own.talk):
        for _ in range(60):
            tokens = list(said(pattern, rng))
            if here := bound.intersection(tokens):
                seen |= here
                beside = any(token.startswith("{") for token in tokens) or not BASKETS.isdisjoint(tokens)
                assert beside, " ".join(tokens)
    assert len(seen) > len(bound) / 2


@pytest.mark.parametrize("locale", LOCALES)
def test_what_the_grammar_has_the_other_rules_let_pass(locale: str) -> None:
    """A frame that the lists refuse is one that an honest model is told of in vain. Some turns of few frames are."""
    own, rng, known = grammar(locale), Random(locale), remembered(MEMORY, locale)
    verifier = Verifier(replace(grounds(locale), remembered=known))
    texts = [written(list(said(pattern, rng))) for pattern in (*own.clauses, *own.talk) for _ in range(12)]
    state = verifier.sentence("{{offer.1.title}}. ", verifier.start())[1]
    refused = [text for text in texts if verifier.sentence(text, state)[0] is not Verdict.OK]
    assert len(refused) / len(texts) < 0.06, refused[:20]


@pytest.mark.parametrize("locale", LOCALES)
def test_what_the_grammar_vouches_for_is_in_it_and_would_else_be_refused(locale: str) -> None:
    own, words = grammar(locale), lexicon(locale)
    assert own.vouched <= own.vocabulary
    for word in own.vouched:
        assert (
            words.phrase_at([word], 0) or words.is_number(word) or any(word in phrase for phrase in words.own.phrases)
        ), word


@pytest.mark.parametrize("locale", LOCALES)
def test_every_sentence_of_the_phrase_book_may_be_said_freely(locale: str) -> None:
    for phrase in phrases(locale).values():
        text = re.sub(r"\{([a-z_]+)\}", r"{{offer.1.\1}}", phrase)
        assert verdict_in_the_middle(text, locale) is Verdict.OK, text


@pytest.mark.parametrize("locale", LOCALES)
def test_the_talk_that_a_model_is_shown_may_be_said(locale: str) -> None:
    shown = grammar_data(locale)["shown"]
    assert len(shown) == len(grammar_data("en")["shown"])
    for text in shown:
        assert verdict_in_the_middle(text, locale) is Verdict.OK, text
        assert text in prompt_for(grounds(locale)).system


def small(**parts: object) -> Grammar:
    """A grammar of a few words."""
    data = {"parts": {}, "leads": [], "clauses": ["a"], "tails": [], "joiners": [], "talk": []}
    return Grammar(data | parts, joins_apostrophes=True)


def test_a_pattern_is_words_options_and_parts() -> None:
    own = small(
        parts={"one": "b|c", "two": "<one> d"},
        clauses=["[very] <two> (e|{price})", "don't"],
        joiners=["and"],
        leads=["so"],
    )
    assert all(
        own.accepts(text.split())
        for text in ("", "b d e", "very c d {price}", "so so b d e", "b d e and c d e", "b d e c d e", "dont")
    )
    assert not any(
        own.accepts(text.split())
        for text in ("b", "very", "so", "b e", "b d", "b d e and", "and b d e", "d", "don t", "e b d")
    )


@pytest.mark.parametrize("pattern", ["(a", "[a", "a)", "(a]", "a ] b"])
def test_a_bracket_without_its_other_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="bracket"):
        small(clauses=[pattern])


def test_a_part_that_does_not_stand_above_is_none() -> None:
    with pytest.raises(KeyError):
        small(parts={"one": "<two>", "two": "a"})


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammars, "_STEPS_REMEMBERED", 8)
    own = small(clauses=["a", "b"])
    for number in range(100):
        assert own.accepts(["a", "b", "a"])
        assert not own.accepts(["a", f"w{number}"])
    assert len(own._steps) <= 8


def test_a_planted_grammar_with_a_word_of_promising_is_seen() -> None:
    data = grammar_data("en")
    planted = Grammar(data | {"clauses": [*data["clauses"], "we (fix|mend) it"]}, joins_apostrophes=True)
    assert planted.vocabulary & set(PROMISING["en"].split()) == {"fix", "mend"}
