"""What is read of charges and their modifications, and how commerce sees them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection, Row

from tokenization.wire import (
    CardSummary,
    Charge,
    ChargeState,
    Initiator,
    Modification,
    ModificationKind,
    ModificationState,
)
from vault_zone.models import charge, modification
from vault_zone.processors.registry import Processors

BATCH = 100  # rows looked up in one pass
# Read several times for each charge, so made once: to build a statement takes longer than to run it.
_BY_ID = select(charge).where(charge.c.id == bindparam("charge_id"))
_BY_PAYMENT = select(charge).where(
    charge.c.merchant == bindparam("of_merchant"), charge.c.payment == bindparam("of_payment")
)
_AT_PROCESSOR = (
    select(charge)
    .where(charge.c.processor == bindparam("of_processor"), charge.c.processor_charge == bindparam("its_charge"))
    .limit(1)
)
_IN_STATE = (
    select(charge.c.id)
    .where(charge.c.state == bindparam("in_state"), charge.c.id > bindparam("after"))
    .order_by(charge.c.id)
    .limit(bindparam("rows"))
)
_PENDING = (
    select(charge.c.id, charge.c.processor)
    .where(charge.c.state == ChargeState.PENDING, charge.c.intended_ms <= bindparam("before_ms"))
    .order_by(charge.c.intended_ms)
)
_MODIFICATION = select(modification).where(modification.c.id == bindparam("modification_id"))
_OF_REQUEST = select(modification).where(
    modification.c.merchant == bindparam("of_merchant"), modification.c.request == bindparam("of_request")
)
_MODIFICATION_AT_PROCESSOR = (
    select(modification)
    .where(
        modification.c.charge_id == bindparam("of_charge"),
        modification.c.kind == bindparam("of_kind"),
        modification.c.processor_reference == bindparam("its_reference"),
    )
    .limit(1)
)
_MODIFICATIONS_IN_STATE = (
    select(modification.c.id)
    .where(modification.c.state == bindparam("in_state"), modification.c.id > bindparam("after"))
    .order_by(modification.c.id)
    .limit(bindparam("rows"))
)
_MODIFICATIONS_PENDING = (
    select(modification.c.id)
    .where(modification.c.state == ModificationState.PENDING, modification.c.intended_ms <= bindparam("before_ms"))
    .order_by(modification.c.intended_ms)
)
OPEN_MODIFICATION = (ModificationState.PENDING, ModificationState.UNKNOWN, ModificationState.ACCEPTED)

_OPEN = select(modification.c.kind, modification.c.is_final).where(
    modification.c.charge_id == bindparam("of_charge"), modification.c.state.in_(OPEN_MODIFICATION)
)


def charge_row(connection: Connection, charge_id: str) -> "Row[Any] | None":
    """The charge of an id."""
    return connection.execute(_BY_ID, {"charge_id": charge_id}).first()


def charge_of_payment(connection: Connection, merchant: str, payment: str) -> "Row[Any] | None":
    """The charge of a payment id."""
    return connection.execute(_BY_PAYMENT, {"of_merchant": merchant, "of_payment": payment}).first()


def charge_at_processor(connection: Connection, processor: str, processor_charge: str) -> "Row[Any] | None":
    """The charge that a processor knows under an id of its own."""
    named = {"of_processor": processor, "its_charge": processor_charge}
    return connection.execute(_AT_PROCESSOR, named).first()


def first_network_reference(connection: Connection, merchant: str, token: str) -> str | None:
    """The card network's id of the token's first charge that the shopper made and that went through."""
    found = (
        select(charge.c.network_reference)
        .where(
            charge.c.merchant == merchant,
            charge.c.token == token,
            charge.c.initiator == Initiator.SHOPPER,
            charge.c.network_reference.is_not(None),
            charge.c.state.in_((ChargeState.AUTHORIZED, ChargeState.SUCCEEDED)),
        )
        .order_by(charge.c.intended_ms)
        .limit(1)
    )
    return connection.execute(found).scalar_one_or_none()


def charges_in(connection: Connection, state: ChargeState, *, after: str) -> list[str]:
    """At most BATCH charges in a state, by id behind ``after``: what waits long does not keep the others waiting."""
    return list(connection.execute(_IN_STATE, {"in_state": state, "after": after, "rows": BATCH}).scalars())


def charges_pending_since(connection: Connection, before_ms: int) -> "Sequence[Row[Any, Any]]":
    """Id and processor of charges that are ``pending`` and were begun by then, the oldest first."""
    return connection.execute(_PENDING, {"before_ms": before_ms}).all()


def modification_row(connection: Connection, modification_id: str) -> "Row[Any] | None":
    """The modification of an id."""
    return connection.execute(_MODIFICATION, {"modification_id": modification_id}).first()


def modification_of_request(connection: Connection, merchant: str, request: str) -> "Row[Any] | None":
    """The modification of a request's key."""
    return connection.execute(_OF_REQUEST, {"of_merchant": merchant, "of_request": request}).first()


def modification_at_processor(
    connection: Connection, charge_id: str, kind: ModificationKind, processor_reference: str
) -> "Row[Any] | None":
    """The modification of a charge that its processor knows under an id of its own."""
    named = {"of_charge": charge_id, "of_kind": kind, "its_reference": processor_reference}
    return connection.execute(_MODIFICATION_AT_PROCESSOR, named).first()


def modifications_in(connection: Connection, state: ModificationState, *, after: str) -> list[str]:
    """As charges_in()."""
    return list(
        connection.execute(_MODIFICATIONS_IN_STATE, {"in_state": state, "after": after, "rows": BATCH}).scalars()
    )


def modifications_pending_since(connection: Connection, before_ms: int) -> list[str]:
    """As charges_pending_since()."""
    return list(connection.execute(_MODIFICATIONS_PENDING, {"before_ms": before_ms}).scalars())


def open_kinds(connection: Connection, charge_id: str) -> list[tuple[ModificationKind, bool]]:
    """Kind and finality of each modification of a charge that has not come to its end."""
    rows = connection.execute(_OPEN, {"of_charge": charge_id})
    return [(ModificationKind(row.kind), row.is_final) for row in rows]


def as_charge(row: "Row[Any]", processors: Processors) -> Charge:
    """The charge as commerce sees it."""
    connector = processors.get(row.processor)
    return Charge(
        charge=row.id,
        payment=row.payment,
        merchant=row.merchant,
        checkout=row.checkout,
        state=ChargeState(row.state),
        amount_minor=row.amount_minor,
        currency=row.currency,
        card=CardSummary(brand=row.brand, last4=row.last4),
        decline_code=row.decline_code,
        action_url=row.action_url,
        sandbox=connector is not None and connector.is_sandbox,
        authorized_minor=row.authorized_minor,
        captured_minor=row.captured_minor,
        refunded_minor=row.refunded_minor,
        disputed_minor=row.disputed_minor,
        authorized_until_ms=row.authorized_until_ms,
        processor=row.processor,
    )


def as_modification(row: "Row[Any]", its_charge: "Row[Any]", processors: Processors) -> Modification:
    """The modification as commerce sees it, with its charge."""
    return Modification(
        modification=row.id,
        request=row.request,
        kind=ModificationKind(row.kind),
        state=ModificationState(row.state),
        amount_minor=row.amount_minor,
        currency=row.currency,
        decline_code=row.decline_code,
        charge=as_charge(its_charge, processors),
    )
