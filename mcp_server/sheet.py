"""ChatGPT's payment sheet, a private beta of OpenAI's: what it gives to ``complete_checkout`` and reads of the answer."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from commerce_api.links import Links
from commerce_api.schemas import CheckoutView, Given, MessageView

PaymentToken = Annotated[
    str,
    Field(
        max_length=64,
        description="A token that your platform got from this shop's vault for this checkout, never card details. Leave it "
        "out where you have none: the shopper pays at continue_url",
    ),
]


class SheetPayment(Given):
    """What ChatGPT's payment sheet gives: a token, and who made it."""

    token: PaymentToken
    provider: Annotated[str, Field(max_length=64)] | None = None


class SheetOrder(BaseModel):
    """The order that came of it, and the page that shows it."""

    id: str
    checkout_session_id: str
    permalink_url: str


class SheetView(BaseModel):
    """A checkout session as the sheet reads it (ACP 2026-04-17, checkout session)."""

    id: str
    status: Literal["ready_for_payment", "authentication_required", "in_progress", "completed", "canceled"]
    currency: str
    messages: list[MessageView] = []
    order: SheetOrder | None = None
    continue_url: str | None = None


def sheet_view(checkout: CheckoutView, links: Links) -> SheetView:
    """A checkout for the sheet."""
    codes = {message.code for message in checkout.messages}
    page = links.checkout_page(checkout.brand, checkout.checkout_id)
    order = None
    if checkout.order_id:
        order = SheetOrder(id=checkout.order_id, checkout_session_id=checkout.checkout_id, permalink_url=page)
    return SheetView(
        id=checkout.checkout_id,
        status=_status(checkout.status, codes),
        currency=checkout.totals.total.currency,
        messages=[_for_sheet(message) for message in checkout.messages],
        order=order,
        continue_url=checkout.continue_url,
    )


def _status(
    status: str, codes: set[str]
) -> Literal["ready_for_payment", "authentication_required", "in_progress", "completed", "canceled"]:
    if "authentication_required" in codes:
        return "authentication_required"
    if status == "completed":
        return "completed"
    if status == "canceled":
        return "canceled"
    return "in_progress" if status == "complete_in_progress" else "ready_for_payment"


def _for_sheet(message: MessageView) -> MessageView:
    """The sheet knows a bank's question as an error of this code."""
    if message.code != "authentication_required":
        return message
    return message.model_copy(update={"type": "error", "code": "requires_3ds"})
