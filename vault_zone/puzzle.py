"""A puzzle that costs who submits cards in bulk, and nobody else notices: proof of work, made and judged here alone.

The page holds a challenge; its script looks for a number whose SHA-256 with the challenge's seed begins with so many zero bits,
and sends it with the form (two fields, PUZZLE and ANSWER). Without script the form works as well: it is taken once the
challenge has aged. What must hold:
 1. Nothing is stored for a challenge. It is an HMAC under the merchant's capture key over all that it says.
 2. It is of one link and of one count of that link's refused tries, which every use raises: none serves twice.
 3. It says how many bits it asks for: who was shown an easy one may use it, for that link and that try.
 4. Whether a puzzle is asked for depends on nothing that is typed.

    1.KEY_ID.BITS.ISSUED_MS.NONCE.MAC         MAC = HMAC-SHA-256 of the rest, the session and its tries; in letters
    seed = the first 32 letters of MAC        answered when SHA-256(seed "." number) begins with BITS zero bits
"""

import hashlib
import hmac
import re
from typing import NamedTuple

from tokenization.ids import letters_of, new_id

PUZZLE, ANSWER = "puzzle", "puzzle_answer"  # the form's fields
FREE_TRIES = 2  # a slip of the finger is no attack
EASIEST_BITS = 15
HARDEST_BITS = 21
AGE_AT_EASIEST_SECONDS = 8
OLDEST_AGE_SECONDS = 64
CALM = 0.25  # below this share of a limit nobody is asked for anything
_LABEL = "cordon-puzzle-v1"
_FORM = re.compile(r"1\.(key_[a-z]{32})\.([0-9]{1,2})\.([0-9]{1,15})\.(pzl_[a-z]{32})\.([a-z]{64})", re.ASCII)
_ANSWER = re.compile(r"[0-9]{1,12}", re.ASCII)


class Puzzle(NamedTuple):
    """A challenge as the form carries it, and what its script needs: the seed and the number of zero bits."""

    challenge: str
    seed: str
    bits: int


class Claimed(NamedTuple):
    """A challenge that came back, read and not yet believed."""

    key_id: str
    bits: int
    issued_ms: int
    signed: str
    mac: str


def bits_needed(tries: int, pressure: float) -> int:
    """How many zero bits are asked for (4): none at first, more with refused tries and with pressure, up to HARDEST_BITS."""
    of_tries = 0 if tries < FREE_TRIES else EASIEST_BITS + tries - FREE_TRIES
    of_pressure = 0 if pressure < CALM else EASIEST_BITS + int((pressure - CALM) * 8)
    return min(max(of_tries, of_pressure), HARDEST_BITS)


def age_instead_seconds(bits: int) -> int:
    """How old a challenge has to be when it comes back without an answer: twice as old for each bit."""
    if bits == 0:
        return 0
    return min(AGE_AT_EASIEST_SECONDS << max(0, bits - EASIEST_BITS), OLDEST_AGE_SECONDS)


def make_puzzle(key_id: str, key: bytes, *, session: str, tries: int, bits: int, now_ms: int) -> Puzzle:
    """A fresh challenge for one link and try (2). Nothing is stored (1)."""
    signed = f"1.{key_id}.{bits}.{now_ms}.{new_id('pzl')}"
    mac = _mac(key, signed, session, tries)
    return Puzzle(f"{signed}.{mac}", mac[:32], bits)


def read_challenge(text: str) -> Claimed | None:
    """The parts of a challenge, or None. Nothing is proven by it."""
    matched = _FORM.fullmatch(text)
    if matched is None:
        return None
    key_id, bits, issued_ms, _, mac = matched.groups()
    return Claimed(key_id, int(bits), int(issued_ms), text.rpartition(".")[0], mac)


def bits_proven(claimed: Claimed, key: bytes, answer: str, *, session: str, tries: int, now_ms: int) -> int | None:
    """The bits that a challenge stands for, answered or aged instead; None for one not ours, not of this try, or too young."""
    if not hmac.compare_digest(_mac(key, claimed.signed, session, tries), claimed.mac):
        return None
    if _ANSWER.fullmatch(answer) and zero_bits(claimed.mac[:32], answer) >= claimed.bits:
        return claimed.bits
    aged = now_ms - claimed.issued_ms >= age_instead_seconds(claimed.bits) * 1000
    return claimed.bits if aged else None


def zero_bits(seed: str, answer: str) -> int:
    """With how many zero bits SHA-256 of the seed and the answer begins."""
    value = int.from_bytes(hashlib.sha256(f"{seed}.{answer}".encode()).digest(), "big")
    return 256 - value.bit_length()


def _mac(key: bytes, signed: str, session: str, tries: int) -> str:
    parts = [part.encode() for part in (_LABEL, signed, session, str(tries))]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return letters_of(hmac.digest(key, message, "sha256"))
