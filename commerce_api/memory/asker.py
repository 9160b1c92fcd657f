"""Who asks about which shopper, and how well that shopper is known: by the brand's own word for it, weighed by its policy."""

from dataclasses import dataclass

from commerce_api.brands import Brand
from commerce_api.checkout.service import Caller
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.memory.terms import Level, MemoryTerms, Sensitivity
from commerce_api.offering.pseudonyms import pseudonym_of


@dataclass(frozen=True, slots=True)
class Asker:
    """A brand's agent that speaks with a shopper. ``shopper`` is the id that it gives them, ``subject`` their pseudonym,
    ``means`` how they are known.
    """

    brand: str
    currency: str
    shopper: str
    subject: str
    means: str
    level: Level
    terms: MemoryTerms
    actor: str

    def require(self, level: Level) -> None:
        """Raises StepUpNeeded for a shopper who is not known well enough. What is stored has no part in it."""
        if self.level < level:
            raise StepUpNeeded(self.terms.ways_to(level))

    def require_for(self, sensitivity: Sensitivity) -> None:
        """As require(), for what is this sensitive."""
        self.require(self.terms.needed_for(sensitivity))


class StepUpNeeded(CommerceRefusal):
    """The shopper has to be known better. ``ways`` are those that would do, least effort first."""

    def __init__(self, ways: tuple[str, ...]) -> None:
        super().__init__(CommerceError.STEP_UP_NEEDED)
        self.ways = ways


def asker_of(brand: Brand, caller: Caller, shopper: str, means: str, key: bytes) -> Asker:
    """Who asks. Only the brand's own agent may name a shopper: raises CommerceRefusal(SHOPPER_UNKNOWN) for others."""
    if not caller.is_brand(brand.id):
        raise CommerceRefusal(CommerceError.SHOPPER_UNKNOWN)
    terms = brand.policy.memory
    subject = pseudonym_of(brand.id, shopper, key)
    return Asker(brand.id, brand.currency, shopper, subject, means, terms.level_of(means), terms, caller.principal)
