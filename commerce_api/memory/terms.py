"""How a brand remembers: which words shoppers agreed to, how well each way of knowing them counts, what that lets be seen."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from commerce_api.catalogue.feed_text import is_plain

Purpose = Literal["memory", "personal_offers", "sensitive"]
Source = Literal["told", "kept", "detected"]


class Sensitivity(StrEnum):
    """How much harm it does where it is told to somebody else."""

    PUBLIC = "public"
    PERSONAL = "personal"
    SENSITIVE = "sensitive"
    PAYMENT_ADJACENT = "payment_adjacent"


class Level(IntEnum):
    """How well it is known who a shopper is. A name or a number that anybody may give is a claim."""

    ANONYMOUS = 0
    CLAIMED = 1
    CONFIRMED = 2
    VERIFIED = 3


LevelName = Literal["anonymous", "claimed", "confirmed", "verified"]
CLAIMS: Final = frozenset({"named", "phone_number", "email_address", "customer_number"})
NAMED: Final = "named"
_KNOWN_BY: Final[Mapping[str, Level]] = {
    **dict.fromkeys(CLAIMS, Level.CLAIMED),
    "sms_code": Level.CONFIRMED,
    "email_code": Level.CONFIRMED,
    "account_password": Level.VERIFIED,
    "signed_in": Level.VERIFIED,
}
_NEEDS: Final[Mapping[Sensitivity, Level]] = {
    Sensitivity.PUBLIC: Level.CLAIMED,
    Sensitivity.PERSONAL: Level.CONFIRMED,
    Sensitivity.SENSITIVE: Level.VERIFIED,
    Sensitivity.PAYMENT_ADJACENT: Level.VERIFIED,
}
# Keys that every brand has. What is sensitive here is kept when it is told with consent, and never detected.
KEYS: Final[Mapping[str, Sensitivity]] = {
    "language": Sensitivity.PUBLIC,
    "size.clothing": Sensitivity.PERSONAL,
    "size.shoe": Sensitivity.PERSONAL,
    "delivery.wish": Sensitivity.PERSONAL,
    "budget": Sensitivity.PERSONAL,
    "gift.occasion": Sensitivity.PERSONAL,
    "name.preferred": Sensitivity.PERSONAL,
    "style": Sensitivity.PERSONAL,
    "health": Sensitivity.SENSITIVE,
    "diet": Sensitivity.SENSITIVE,
    "belief": Sensitivity.SENSITIVE,
    "origin": Sensitivity.SENSITIVE,
    "politics": Sensitivity.SENSITIVE,
    "orientation": Sensitivity.SENSITIVE,
    "payment.preference": Sensitivity.PAYMENT_ADJACENT,
}

Id = Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,63}$")]
Days = Annotated[int, Field(gt=0, le=1_095)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class BrandKey(_Part):
    """A key of the brand's own, and how sensitive what stands under it is."""

    key: Annotated[str, Field(pattern="^brand\\.[a-z][a-z0-9_]{0,39}$")]
    sensitivity: Literal["public", "personal", "sensitive", "payment_adjacent"]


class Wording(_Part):
    """Words that a shopper is asked with. They do not change: other words get another id."""

    id: Id
    purpose: Purpose
    text: Annotated[str, Field(min_length=20, max_length=2_000)]

    @model_validator(mode="after")
    def _is_plain(self) -> Self:
        if not all(is_plain(line) for line in self.text.split("\n")):
            raise ValueError("write the words that are shown: plain text, no HTML tags")
        return self


class MemoryTerms(_Part):
    """A brand's memory. Without a wording for ``memory`` no shopper can agree to it, and nothing they say is kept.

    ``known_by`` gives each way of knowing a shopper its level; a claim is never more than ``claimed``. ``needs`` is the level
    that sees a sensitivity. ``keep_days`` is how long a fact holds by how it came.
    """

    wordings: Annotated[tuple[Wording, ...], Field(max_length=100)] = ()
    keys: Annotated[tuple[BrandKey, ...], Field(max_length=100)] = ()
    known_by: Annotated[
        dict[Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")], LevelName], Field(max_length=50)
    ] = Field(default_factory=dict)
    needs: dict[Literal["public", "personal", "sensitive", "payment_adjacent"], LevelName] = Field(default_factory=dict)
    told_days: Days = 400
    kept_days: Days = 400
    detected_days: Days = 90

    @model_validator(mode="after")
    def _a_claim_is_no_identity(self) -> Self:
        if any(self.level_of(means) > Level.CLAIMED for means in CLAIMS):
            raise ValueError("known_by: a name, number or address that anybody may give is claimed at most")
        return self

    @model_validator(mode="after")
    def _more_sensitive_needs_more(self) -> Self:
        public, personal = self.needed_for(Sensitivity.PUBLIC), self.needed_for(Sensitivity.PERSONAL)
        highest = (Sensitivity.SENSITIVE, Sensitivity.PAYMENT_ADJACENT)
        if not Level.CLAIMED <= public <= personal <= min(map(self.needed_for, highest)):
            raise ValueError(
                "needs: public at least claimed, personal no less than that, the others no less than personal"
            )
        if min(map(self.needed_for, highest)) < Level.CONFIRMED:
            raise ValueError("needs: sensitive and payment_adjacent at least confirmed")
        return self

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        for ids in ([wording.id for wording in self.wordings], [own.key for own in self.keys]):
            if len(set(ids)) != len(ids):
                raise ValueError("wordings and keys have each id once")
        return self

    def level_of(self, means: str) -> Level:
        """How well a shopper is known by this. A way that the brand does not name proves nothing."""
        told = self.known_by.get(means)
        return Level[told.upper()] if told is not None else _KNOWN_BY.get(means, Level.ANONYMOUS)

    def needed_for(self, sensitivity: Sensitivity) -> Level:
        """The level that sees and writes this."""
        told = self.needs.get(sensitivity.value)
        return Level[told.upper()] if told is not None else _NEEDS[sensitivity]

    def seen_at(self, level: Level) -> tuple[str, ...]:
        """The sensitivities that are seen at a level."""
        return tuple(kind.value for kind in Sensitivity if self.needed_for(kind) <= level)

    def ways_to(self, level: Level) -> tuple[str, ...]:
        """How a shopper can be known well enough for a level, least effort first."""
        ways = {**_KNOWN_BY, **{means: self.level_of(means) for means in self.known_by}}
        return tuple(
            sorted((way for way, reached in ways.items() if reached >= level), key=lambda way: (ways[way], way))
        )

    def sensitivity_of(self, key: str) -> Sensitivity | None:
        """What a key says of what stands under it; None for a key that there is not."""
        own = {brand.key: Sensitivity(brand.sensitivity) for brand in self.keys}
        return KEYS.get(key) or own.get(key)

    def days_of(self, source: Source) -> int:
        """How long a fact of this source holds."""
        return {"told": self.told_days, "kept": self.kept_days, "detected": self.detected_days}[source]
