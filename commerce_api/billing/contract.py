"""What a brand pays for: a contract, read from a file, in versions that are never changed.

What holds:
 1. A version's terms are written once. The same file again changes nothing; other terms need the next version.
 2. A version begins no earlier than the moment it is set and than the version before it, so that what an outcome comes to
    does not depend on when it is reported.
 3. Rates are basis points and amounts minor units of the brand's currency (I7).
"""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy import bindparam, insert, select
from sqlalchemy.engine import Connection

from audit.event import Event, EventType
from audit.transaction import Transaction
from commerce_api.brands import ORIGIN, Brand
from commerce_api.models import billing_contract

OutcomeType = Literal["sale", "save", "booking"]
MAXIMUM_CONTRACT_BYTES: Final = 64 * 1024
_AMOUNT_MAXIMUM: Final = 10**9
_IN_FORCE: Final = (
    select(billing_contract.c.document)
    .where(billing_contract.c.brand == bindparam("at"), billing_contract.c.from_ms <= bindparam("moment"))
    .order_by(billing_contract.c.version.desc())
    .limit(1)
)
Amount = Annotated[int, Field(ge=0, le=_AMOUNT_MAXIMUM)]
Days = Annotated[int, Field(gt=0, le=365)]


class ContractInvalid(ValueError):
    """The contract cannot be used; the text says what is expected, never a value."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Term(_Part):
    """What one outcome costs: a share of its value, between bounds, or a fee.

    An outcome that follows an offer counts within ``attribution_days`` of its being shown. What is reversed later than
    ``reversal_days`` after the outcome stays billed.
    """

    rate_basis_points: Annotated[int, Field(gt=0, le=10_000)] | None = None
    fee_minor: Annotated[int, Field(gt=0, le=_AMOUNT_MAXIMUM)] | None = None
    minimum_minor: Amount = 0
    maximum_minor: Amount | None = None
    attribution_days: Days = 30
    reversal_days: Days = 180

    @model_validator(mode="after")
    def _is_a_rate_or_a_fee(self) -> Self:
        if (self.rate_basis_points is None) == (self.fee_minor is None):
            raise ValueError("give either rate_basis_points or fee_minor")
        if self.fee_minor is not None and (self.minimum_minor or self.maximum_minor is not None):
            raise ValueError("fee_minor has no minimum_minor and no maximum_minor")
        if self.maximum_minor is not None and self.minimum_minor > self.maximum_minor:
            raise ValueError("minimum_minor must not be above maximum_minor")
        return self


class SaleTerm(Term):
    """``attributed_by``: ``offer`` bills orders with an offer that was made here; ``conversation`` all that an agent began."""

    attributed_by: Literal["offer", "conversation"] = "offer"


class Contract(_Part):
    """A version of a brand's contract. Without ``valid_from`` it begins when it is set. A month stays open ``closing_days``."""

    version: Annotated[int, Field(ge=1, le=1_000_000)]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    valid_from: AwareDatetime | None = None
    sale: SaleTerm | None = None
    save: Term | None = None
    booking: Term | None = None
    closing_days: Annotated[int, Field(ge=0, le=28)] = 5

    @model_validator(mode="after")
    def _bills_something(self) -> Self:
        if self.sale is None and self.save is None and self.booking is None:
            raise ValueError("give at least one of sale, save and booking")
        return self

    def term(self, kind: str) -> Term | None:
        """The term for an outcome's type, if it is billed at all."""
        return {"sale": self.sale, "save": self.save, "booking": self.booking}[kind]


def load_contract(path: Path) -> Contract:
    """Reads a contract from a JSON file. Raises ContractInvalid."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAXIMUM_CONTRACT_BYTES + 1)
    except OSError:
        raise ContractInvalid("the file cannot be read; check the path and its permissions") from None
    if len(content) > MAXIMUM_CONTRACT_BYTES:
        raise ContractInvalid("the file is above 64 KiB; a contract is a small JSON object")
    try:
        return Contract.model_validate_json(content)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False, include_context=False, include_input=False)
        raise ContractInvalid("; ".join(sorted({_said(error["msg"]) for error in errors}))) from None


def set_contract(tx: Transaction, brand: Brand, contract: Contract) -> bool:
    """Puts a version in force; False where it is there already. Raises ContractInvalid."""
    if contract.currency != brand.currency:
        raise ContractInvalid("the contract's currency is not the brand's")  # (3)
    document = contract.model_dump_json()
    of_brand = billing_contract.c.brand == brand.id
    newest = tx.execute(
        select(billing_contract).where(of_brand).order_by(billing_contract.c.version.desc()).limit(1)
    ).first()
    known = tx.execute(
        select(billing_contract.c.document).where(of_brand, billing_contract.c.version == contract.version)
    ).scalar()
    if known == document:
        return False
    if known is not None:
        raise ContractInvalid("this version is in force with other terms; give the next one a higher version")  # (1)
    from_ms = int(contract.valid_from.timestamp() * 1000) if contract.valid_from else tx.now_ms
    if from_ms < tx.now_ms:
        raise ContractInvalid("valid_from is past; leave it out to begin now")  # (2)
    if newest is not None and (newest.version > contract.version or newest.from_ms > from_ms):
        raise ContractInvalid("a higher version is there, or one that begins later")
    tx.execute(
        insert(billing_contract).values(
            brand=brand.id, version=contract.version, document=document, from_ms=from_ms, created_ms=tx.now_ms
        )
    )
    tx.record(
        Event(
            type=EventType.CONTRACT_SET,
            outcome="success",
            actor="operator",
            origin=ORIGIN,
            resource=f"contract:{contract.version}",
            merchant=brand.id,
            data={"version": str(contract.version)},
        )
    )
    return True


def contract_at(connection: Connection, brand: str, moment_ms: int) -> Contract | None:
    """The contract that was in force then."""
    document = connection.execute(_IN_FORCE, {"at": brand, "moment": moment_ms}).scalar()
    return None if document is None else Contract.model_validate_json(document)


def contract_of(connection: Connection, brand: str, version: int) -> Contract:
    """A version that is there."""
    document = connection.execute(
        select(billing_contract.c.document).where(
            billing_contract.c.brand == brand, billing_contract.c.version == version
        )
    ).scalar_one()
    return Contract.model_validate_json(document)


def _said(message: object) -> str:
    return str(message).removeprefix("Value error, ")
