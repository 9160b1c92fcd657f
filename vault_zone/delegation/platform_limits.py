"""How often agent platforms may hand over cards for a merchant: the merchant's own limits (velocity), a platform's among them.

A platform is known and answers for whom it hands over, and may still be used to test cards or be taken over. What must hold:
 1. Each card that is taken, and each that is refused for what it is or may be used for, is counted in the transaction that
    takes it or records its refusal.
 2. Whoever hands over, by page, frame, ACP or UCP, is counted in the same counters of the merchant: no way in has tries of its
    own at a number, for its first six and last four digits are counted under the merchant's one key.
 3. A request that was answered before is answered again and counts for nothing.
 4. What is over a limit is answered alike, whichever limit it is and whatever the card.
"""

from vault_zone.card import Pan
from vault_zone.key_rows import Purpose
from vault_zone.keyring import KeyRing
from vault_zone.velocity import Tried, VelocityExceeded, tried
from vault_zone.velocity_policy import VelocityPolicy

TRY_LATER_SECONDS = 120  # for every limit, so that the answer does not tell which; some last longer (4)


class TooManyTries(Exception):
    """A limit is reached, and nothing was done. The record says which; the caller is told to come later."""

    def __init__(self, merchant: str, exceeded: VelocityExceeded) -> None:
        super().__init__("too_many_tries")
        self.merchant = merchant
        self.exceeded = exceeded


class PlatformLimits:
    """What a handover counts for."""

    def __init__(self, keys: KeyRing, policy: VelocityPolicy) -> None:
        self._keys = keys
        self._policy = policy

    async def tried(
        self, platform: str, merchant: str, *, checkout: str | None = None, pan: Pan | None = None
    ) -> Tried:
        """What one card of a platform counts for (2). Raises KeyUnavailable, KeyDestroyed."""
        _, key = await self._keys.ready(merchant, Purpose.CAPTURE)
        limits = self._policy.limits_of(merchant)
        return tried(key, limits, merchant=merchant, platform=platform, checkout=checkout, pan=pan)
