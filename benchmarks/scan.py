"""What the card-text scanner finds, what it takes for a card by mistake, and what it costs, beside a naive pattern with Luhn.

    python -m benchmarks.scan [--cards N] [--noise N]

The corpus is generated with a fixed seed (tests/tokenization/scanner/corpus.py). Recall and false alarms do not depend on the
machine; times do, so they are printed as a ratio to the naive pattern over the same messages in the same run.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable
from random import Random

from tests.tokenization.scanner import corpus
from tokenization.scanner import ConversationScanner, contains_card, contains_card_in_json

SEED = 20_261_122
NAIVE = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
CHAT = (
    "Hi, I would like the Drift kettle in oat please, and two mugs. Ship to 12 Quay Street, Portland OR 97209. My last order "
    "was ORD-2024-1187 and came on 2026-11-02 at 14:33. Call me on +1 415 555 0132 if there is a problem. It should come to "
    "about $109.05, right? Thanks!"
)


def naive(text: str) -> bool:
    """The usual rule: 13 to 19 digits with single blanks or dashes between them, and Luhn."""
    return any(luhn(re.sub(r"\D", "", match.group())) for match in NAIVE.finditer(text))


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def share(count: int, told: Callable[[Random], bool]) -> float:
    """How many of so many tries come true, in percent."""
    rng = Random(SEED)
    return 100 * sum(told(rng) for _ in range(count)) / count


def recall(cards: int) -> None:
    """A row for each way of hiding a card."""
    say(f"\nfound, % of {cards} cards                              Cordon    naive")
    for row in corpus.TEXT_EVASIONS:
        ours = share(cards, lambda rng, row=row: contains_card(corpus.told(row, corpus.card_for(row, rng), rng)))
        theirs = share(cards, lambda rng, row=row: naive(corpus.told(row, corpus.card_for(row, rng), rng)))
        say(f"  {row:<50}{ours:8.1f}{theirs:9.1f}")
    for row, write in corpus.JSON_EVASIONS.items():
        ours = share(cards, lambda rng, row=row, write=write: contains_card_in_json(write(corpus.card_for(row, rng), rng)))
        say(f"  JSON: {row:<44}{ours:8.1f}        -")
    for row, talk in corpus.TALK_EVASIONS.items():
        ours = share(cards, lambda rng, talk=talk: in_talk(talk(corpus.common_card(rng), rng)))
        say(f"  over messages: {row:<35}{ours:8.1f}        -")


def in_talk(messages: list[str]) -> bool:
    """Whether a card is found in a conversation, message by message."""
    scanner = ConversationScanner()
    return any([scanner.check("c", message, float(place)) for place, message in enumerate(messages)])


def false_alarms(noise: int) -> None:
    """A row for each kind of number that is no card."""
    say(f"\ntaken for a card, % of {noise}                         Cordon    naive")
    for row, (write, _) in corpus.NOISE.items():
        ours = share(noise, lambda rng, write=write: contains_card(write(rng)))
        theirs = share(noise, lambda rng, write=write: naive(write(rng)))
        say(f"  {row:<50}{ours:8.2f}{theirs:9.2f}")


def cost(rounds: int) -> None:
    """Microseconds for one chat message, and the ratio to the naive pattern in the same run."""
    say(f"\ncost of a chat message of {len(CHAT)} characters, µs      p50      p99    ratio at p50")
    base = 0.0
    for name, scan in (("naive pattern and Luhn", naive), ("Cordon", contains_card)):
        times: list[float] = []
        for _ in range(rounds):
            started = time.perf_counter()
            scan(CHAT)
            times.append((time.perf_counter() - started) * 1e6)
        middle = corpus.percentile(times, 0.5)
        base = base or middle
        say(f"  {name:<46}{middle:8.1f}{corpus.percentile(times, 0.99):9.1f}{middle / base:12.1f}")


def say(line: str) -> None:
    """A line of the table."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description="Recall, false alarms and cost.")
    parser.add_argument("--cards", type=int, default=120, help="cards for each way of hiding them")
    parser.add_argument("--noise", type=int, default=1_000, help="numbers of each kind that is no card")
    parser.add_argument("--rounds", type=int, default=2_000, help="scans of the chat message")
    arguments = parser.parse_args()
    say(f"corpus {corpus.VERSION}, seed {SEED}")
    recall(arguments.cards)
    false_alarms(arguments.noise)
    cost(arguments.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
