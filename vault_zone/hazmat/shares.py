"""The root key in shares: any M of N open it, fewer tell nothing of it (Shamir; PCI DSS 3.6.1.2, 3.7.6).

A share is 33 words of SLIP-39 (https://github.com/satoshilabs/slips/blob/master/slip-0039.md): one group, no passphrase, with
an error-detecting checksum and a number that all shares of one ceremony have in common.
"""

from enum import StrEnum
from typing import Final

from shamir_mnemonic import (  # type: ignore[import-untyped]
    MnemonicError,
    Share,
    combine_mnemonics,
    generate_mnemonics,
)

THRESHOLD_MINIMUM: Final = 2  # one share that opens alone would end dual control
SHARES_MAXIMUM: Final = 16  # of SLIP-39
WORDS: Final = 33  # for 256 bits
_TEXT_MAXIMUM: Final = 500  # 33 words of at most eight letters are under 300
# The words' secrecy does not rest on stretching, because there is no passphrase: the least that the format allows.
_ITERATION_EXPONENT: Final = 0


class ShareFault(StrEnum):
    """Why a share was not taken."""

    MISTYPED = "share_mistyped"
    FOREIGN = "share_of_another_ceremony"
    REPEATED = "share_given_already"
    WRONG_TOGETHER = "shares_do_not_open"
    NOT_SEALED = "not_sealed"


class ShareRefused(Exception):
    """The share was not taken. Holds the fault and no word of the share."""

    def __init__(self, fault: ShareFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def split(root: bytes, *, threshold: int, shares: int) -> list[str]:
    """The root key as that many shares of 33 words. Raises ValueError for a threshold under 2 or over the number of shares."""
    if not THRESHOLD_MINIMUM <= threshold <= shares <= SHARES_MAXIMUM:
        raise ValueError(f"{THRESHOLD_MINIMUM} <= threshold <= shares <= {SHARES_MAXIMUM}")
    made: list[list[str]] = generate_mnemonics(1, [(threshold, shares)], root, iteration_exponent=_ITERATION_EXPONENT)
    return made[0]


def share_set_of(share: str) -> int:
    """The number that all shares of one ceremony have in common (15 bits, not secret)."""
    return int(Share.from_mnemonic(share).identifier)


class Gathering:
    """Collects shares until there are enough, and forgets them all after a combination that does not open.

    Raises ShareRefused for a share that is mistyped, of another ceremony, or given already.
    """

    def __init__(self, *, share_set: int, threshold: int) -> None:
        self._share_set = share_set
        self._threshold = threshold
        self._given: dict[int, str] = {}

    def __repr__(self) -> str:
        return f"Gathering({len(self._given)} of {self._threshold})"

    def __len__(self) -> int:
        return len(self._given)

    def fits(self, share_set: int, threshold: int) -> bool:
        """Whether it collects shares of this ceremony."""
        return (self._share_set, self._threshold) == (share_set, threshold)

    def add(self, text: str) -> bytes | None:
        """Takes a share; with the last one that is needed, the root key that the shares make together."""
        words = " ".join(text[:_TEXT_MAXIMUM].lower().split())
        try:
            share = Share.from_mnemonic(words)
        except MnemonicError:  # its text quotes the share
            raise ShareRefused(ShareFault.MISTYPED) from None
        if words.count(" ") != WORDS - 1 or len(text) > _TEXT_MAXIMUM:
            raise ShareRefused(ShareFault.MISTYPED)
        if (share.identifier, share.group_count, share.member_threshold) != (self._share_set, 1, self._threshold):
            raise ShareRefused(ShareFault.FOREIGN)
        if share.index in self._given:
            raise ShareRefused(ShareFault.REPEATED)
        self._given[share.index] = words
        if len(self._given) < self._threshold:
            return None
        together = list(self._given.values())
        self.forget()
        try:
            root: bytes = combine_mnemonics(together)
        except MnemonicError:
            raise ShareRefused(ShareFault.WRONG_TOGETHER) from None
        return root

    def forget(self) -> None:
        """Lets everything go that was given so far."""
        self._given.clear()
