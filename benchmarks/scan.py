"""Measures the card-like-text scanner: what it finds, what it calls wrongly, and what it costs.

    python -m benchmarks.scan [--cards 120] [--noise 2000] [--seed 1]
    python -m benchmarks.scan --keys 1000000    # idempotency keys that are random UUIDs, refused as text and as keys

Beside every figure stands the same figure of a baseline in the same run: 13 to 19 digits with single spaces or dashes between,
and the Luhn check, which is what many gateways ship. The rows are those of the tests (tests/tokenization/scanner/corpus.py).
Absolute times depend on the machine and on what else it does; compare the ratios.
"""

import argparse
import json
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from time import perf_counter_ns
from typing import Any, Final, NamedTuple

from tests.tokenization.scanner.corpus import (
    BENIGN_TALKS,
    JSON_EVASIONS,
    NOISE,
    TALK_EVASIONS,
    TEXT_EVASIONS,
    VERSION,
    card,
    card_for,
    moment,
    percentile,
    telephone,
    told,
)
from tokenization.opaque_keys import is_opaque_key
from tokenization.scanner import ConversationScanner, contains_card, contains_card_in_json
from tokenization.scanner.issuers import passes_luhn

Verdict = Callable[[str], bool]

CHAT_CHARS: Final = 300
MESSAGES: Final = 300
ROUNDS: Final = 15  # the fastest of these counts: the others measure what else the machine does
WORDS: Final = (
    "hello I would like to buy an electric kettle in silver or glass with the two year warranty please ship it to my home "
    "address and tell me when it arrives because next week we are away thanks a lot it is not urgent can you also check "
    "whether the blue one is in stock or maybe another colour and what it costs"
)
_NAIVE: Final = re.compile(r"[0-9](?:[ -]?[0-9]){12,18}")


class Row(NamedTuple):
    """One line of a table: its name, our figure and the baseline's."""

    name: str
    ours: float
    baseline: float


def naive(text: str) -> bool:
    """The baseline."""
    return any(passes_luhn(re.sub("[^0-9]", "", match[0])) for match in _NAIVE.finditer(text))


def naive_talk(messages: Sequence[str]) -> bool:
    """The baseline on a conversation: each message by itself."""
    return any(map(naive, messages))


def talk_is_stopped(messages: Sequence[str]) -> bool:
    """Whether any message of the conversation is found fault with."""
    scanner = ConversationScanner()
    return any(scanner.check("talk", message, float(second)) for second, message in enumerate(messages))


def recall(cards: int, seed: int) -> Iterator[Row]:
    """The share of cards found under each evasion, in percent."""
    for name in TEXT_EVASIONS:
        rng = Random(f"{seed} {name}")
        texts = [told(name, card(rng), rng) for _ in range(cards)]
        yield Row(name, share(contains_card, texts), share(naive, texts))
    for name, split in JSON_EVASIONS.items():
        rng = Random(f"{seed} {name}")
        values = [split(card(rng), rng) for _ in range(cards)]
        yield Row(f"JSON: {name}", share(contains_card_in_json, values), share(naive, map(json.dumps, values)))
    for name, cut in TALK_EVASIONS.items():
        rng = Random(f"{seed} {name}")
        talks = [cut(card_for(name, rng), rng) for _ in range(cards)]
        yield Row(f"messages: {name}", share(talk_is_stopped, talks), share(naive_talk, talks))


def false_alarms(count: int, seed: int) -> Iterator[Row]:
    """The share of other numbers called a card, in percent."""
    for name, (make, _) in NOISE.items():
        rng = Random(f"{seed} {name}")
        texts = [make(rng) for _ in range(count)]
        yield Row(name, share(contains_card, texts), share(naive, texts))
    for name, talk in BENIGN_TALKS.items():
        rng = Random(f"{seed} {name}")
        talks = [talk(rng) for _ in range(count)]
        yield Row(f"conversation: {name}", share(talk_is_stopped, talks), share(naive_talk, talks))


def keys_refused(count: int, seed: int) -> tuple[int, int]:
    """How many random UUIDs are refused where they are read as text, and where they are taken as keys."""
    rng = Random(seed)
    as_text = as_keys = 0
    for _ in range(count):
        key = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        if contains_card(key):
            as_text += 1
            as_keys += not is_opaque_key(key)
    return as_text, as_keys


def share(verdict: Callable[[Any], bool], items: Iterable[Any]) -> float:
    """The percentage of items for which the verdict is true."""
    verdicts = [verdict(item) for item in items]
    return 100 * sum(verdicts) / len(verdicts)


def prose(rng: Random, characters: int) -> str:
    """A shopper's words."""
    words = WORDS.split()
    text = " ".join(rng.choice(words) for _ in range(characters // 3))
    return text[:characters]


def chat(rng: Random) -> str:
    """A message without numbers."""
    return prose(rng, CHAT_CHARS)


def chat_with_numbers(rng: Random) -> str:
    """A message with an order number, a house number, a telephone number, a time and a date."""
    numbers = (
        f"order {rng.randrange(10**9, 10**10)} to {rng.randrange(1, 9999)} Oak Street, call +1 {telephone(rng, ' ')}"
    )
    when = f"before {moment(rng):%H:%M} on {moment(rng):%Y-%m-%d}"
    return f"{prose(rng, CHAT_CHARS - 100)}, {numbers} {when}."


def chat_as_json(rng: Random) -> str:
    """A message as an API carries it, with a UUID and a time."""
    message = {
        "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "role": "user",
        "content": prose(rng, CHAT_CHARS - 130),
        "at": moment(rng).isoformat(),
    }
    return json.dumps(message)


def page(rng: Random) -> str:
    """Two kilobytes of prose."""
    return prose(rng, 2_000)


def log_lines(rng: Random) -> str:
    """Digit-heavy lines."""
    return "\n".join(NOISE["log line"][0](rng) for _ in range(5))


TEXTS: Final[dict[str, Callable[[Random], str]]] = {
    "chat, words alone": chat,
    "chat with order, telephone, date": chat_with_numbers,
    "chat as JSON with UUID and time": chat_as_json,
    "prose, 2 KB": page,
    "five log lines": log_lines,
}


class Cost(NamedTuple):
    """Microseconds per text, and how many characters a text has."""

    name: str
    characters: float
    ours: list[float]
    baseline: list[float]


def costs(seed: int) -> Iterator[Cost]:
    """The cost of each kind of text; the first three kinds also taken together."""
    together: tuple[list[float], list[float]] = ([], [])
    for name, make in TEXTS.items():
        rng = Random(f"{seed} {name}")
        texts = [make(rng) for _ in range(MESSAGES)]
        ours, baseline = microseconds(contains_card, texts), microseconds(naive, texts)
        if name.startswith("chat"):
            together[0].extend(ours)
            together[1].extend(baseline)
        yield Cost(name, sum(map(len, texts)) / MESSAGES, ours, baseline)
    yield Cost("the three kinds of chat together", float(CHAT_CHARS), *together)


def microseconds(verdict: Verdict, texts: Sequence[str]) -> list[float]:
    """For each text the fastest of several rounds."""
    fastest = [float("inf")] * len(texts)
    for _ in range(ROUNDS):
        for index, text in enumerate(texts):
            start = perf_counter_ns()
            verdict(text)
            fastest[index] = min(fastest[index], (perf_counter_ns() - start) / 1_000)
    return fastest


def write_rows(title: str, rows: Sequence[Row], unit: str) -> None:
    """One table of two figures."""
    sys.stdout.write(f"\n## {title}\n\n| row | scanner, {unit} | baseline, {unit} |\n|---|---:|---:|\n")
    for row in rows:
        sys.stdout.write(f"| {row.name.replace('|', '¦')} | {row.ours:.4g} | {row.baseline:.4g} |\n")


def write_costs(rows: Sequence[Cost]) -> None:
    """The table of costs."""
    sys.stdout.write(
        "\n## Cost of one text\n\n| text | characters | p50 µs | p99 µs | baseline p50 µs | ratio of p50 |\n"
    )
    sys.stdout.write("|---|---:|---:|---:|---:|---:|\n")
    for row in rows:
        ours, worst, baseline = percentile(row.ours, 0.5), percentile(row.ours, 0.99), percentile(row.baseline, 0.5)
        sys.stdout.write(
            f"| {row.name} | {row.characters:.0f} | {ours:.1f} | {worst:.1f} | {baseline:.1f} | {ours / baseline:.1f} |\n"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints. Returns 1 if a card was missed under any evasion."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scan", description=__doc__.splitlines()[0])
    parser.add_argument("--cards", type=int, default=120, help="cards per evasion; 0 measures the cost alone")
    parser.add_argument("--noise", type=int, default=2_000, help="numbers per kind of noise")
    parser.add_argument("--keys", type=int, default=0, help="UUIDs as idempotency keys, and nothing else")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    if given.keys:
        as_text, as_keys = keys_refused(given.keys, given.seed)
        sys.stdout.write(f"{given.keys:,} random UUIDs: {as_text:,} refused as text, {as_keys:,} as keys\n")
        return 0
    if given.cards == 0:
        write_costs(list(costs(given.seed)))
        return 0
    found = list(recall(given.cards, given.seed))
    sys.stdout.write(
        f"# Card-like text: corpus {VERSION}, seed {given.seed}, {given.cards} cards and {given.noise} numbers a row\n"
    )
    write_rows("Cards found", found, "%")
    write_rows("Other numbers called a card", list(false_alarms(given.noise, given.seed)), "%")
    write_costs(list(costs(given.seed)))
    missed = [row.name for row in found if row.ours < 100]
    sys.stdout.write(f"\nRows with a missed card: {', '.join(missed) or 'none'}\n")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
