"""How many sentences of each set pass, by the lists alone and with the grammar.

    python -m tests.offer_engine.presenting.rates

Of honest sentences it says how many are refused, of promises how many pass; of all, and of the odd ones of each language alone.
"""

import sys
from typing import Final

from offer_engine.presenting.verifier import Verdict
from tests.offer_engine.presenting.benign import BENIGN
from tests.offer_engine.presenting.chatty import CHATTY, OF_OTHER_THINGS
from tests.offer_engine.presenting.honest import HONEST
from tests.offer_engine.presenting.paraphrases import PARAPHRASES
from tests.offer_engine.presenting.plain_promises import PLAIN_PROMISES
from tests.offer_engine.presenting.smuggled import SMUGGLED
from tests.offer_engine.presenting.test_grammar import OWN_WORDS, TALKED
from tests.offer_engine.presenting.world import whole

PROMISES: Final = {
    "paraphrases": PARAPHRASES,
    "plain promises": PLAIN_PROMISES,
    "smuggled": SMUGGLED,
    "own words": OWN_WORDS,
    "talked": TALKED,
}
TOLD_HONESTLY: Final = {
    "honest": HONEST,
    "benign": BENIGN,
    "chatty": CHATTY,
    "of other things": OF_OTHER_THINGS,
}


def counted(told: dict[str, tuple[str, ...]], *, honest: bool, lists_alone: bool, odd: bool) -> str:
    """How many of a set's sentences get a verdict that they should not, of how many."""
    texts = [(locale, text) for locale, every in told.items() for text in (every[1::2] if odd else every)]
    passed = sum(whole(text, locale, lists_alone=lists_alone) is Verdict.OK for locale, text in texts)
    return f"{len(texts) - passed if honest else passed}/{len(texts)}"


def main() -> int:
    """The command."""
    for lists_alone in (True, False):
        for title, told in (TOLD_HONESTLY | PROMISES).items():
            honest = title in TOLD_HONESTLY
            every, odd = (counted(told, honest=honest, lists_alone=lists_alone, odd=odd) for odd in (False, True))
            reader = "lists alone" if lists_alone else "with the grammar"
            sys.stdout.write(f"{reader:17} {title:16} {'refused' if honest else 'pass':8} {every:9} odd {odd}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
