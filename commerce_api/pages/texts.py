"""The words of the page, as data: what happened, and what the shopper can do now."""

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from commerce_api.errors import CommerceError


class Alert(NamedTuple):
    """A box above the order. ``may_pay``: whether pressing the pay button can help."""

    title: str
    body: str
    tone: str = "danger"
    may_pay: bool = True


class NoticeText(NamedTuple):
    """A page that holds nothing but this."""

    title: str
    body: str
    icon: str
    tone: str = "calm"


class Notice(Enum):
    """The notices a shopper may meet where no checkout can be shown."""

    NOT_FOUND = "not_found"
    UNAVAILABLE = "unavailable"
    CLIENT_REFUSED = "client_refused"
    CLIENT_MISTAKEN = "client_mistaken"
    REQUEST_ENDED = "request_ended"
    TOO_OFTEN = "too_often"
    SIGNED_OUT = "signed_out"


PROBLEMS: Final[Mapping[CommerceError, Alert]] = {
    CommerceError.OUT_OF_STOCK: Alert(
        "There is not enough left",
        "Something in this order has just sold out, so it cannot be paid. Go back to your conversation, choose fewer or "
        "something else, and open this page again.",
        may_pay=False,
    ),
    CommerceError.CHECKOUT_NOT_READY: Alert(
        "Your order has changed",
        "A price, a discount or what is available changed since you opened this page. Check it again before you continue.",
    ),
    CommerceError.CHECKOUT_IN_PAYMENT: Alert(
        "A payment is already under way",
        "No second one was started. Wait until this one has ended.",
        "calm",
        may_pay=False,
    ),
    CommerceError.CHECKOUT_FINISHED: Alert(
        "This checkout is closed",
        "Nothing more can be paid here. To buy something, ask for a new link in your conversation.",
        "calm",
        may_pay=False,
    ),
    # Said of a payment that may be on its way as well: it must not claim that nothing was charged.
    CommerceError.PAYMENT_UNAVAILABLE: Alert(
        "We cannot reach the payment service just now",
        "Nothing is lost, and you cannot be charged twice. Wait a minute, then try once more.",
    ),
    CommerceError.BUSY: Alert(
        "That did not work just now",
        "Many people are shopping at this moment. Nothing is lost. Wait a few seconds, then try once more.",
    ),
    CommerceError.INTERNAL: Alert(
        "Something went wrong on our side",
        "Nothing is lost, and you cannot be charged twice. Wait a minute, then try once more.",
    ),
    CommerceError.TOTAL_OUT_OF_BOUNDS: Alert(
        "This order is too large for one payment",
        "Go back to your conversation and lower the quantities, or make it two orders.",
        may_pay=False,
    ),
    CommerceError.PRODUCT_UNKNOWN: Alert(
        "A product is no longer sold",
        "Something in this order has left the shop. Go back to your conversation and choose something else.",
        may_pay=False,
    ),
    CommerceError.SHIPPING_OPTION_UNKNOWN: Alert(
        "This delivery is no longer offered",
        "Go back to your conversation, choose another delivery, and open this page again.",
        may_pay=False,
    ),
}
GENERAL_PROBLEM: Final = Alert(
    "That did not work",
    "Nothing is lost. Load this page again; if that does not help, go back to your conversation and ask what to do.",
)
ALREADY_PAID: Final = Alert(
    "This order is already paid", "Your payment went through once. You were not charged again.", "calm"
)
DECLINED_TITLE: Final = "Your payment did not go through"

# What to do before an order can be paid, by a message's code and path. Others show with the content they came with.
NEEDED: Final[Mapping[tuple[str, str | None], str]] = {
    ("missing", "$.lines"): "Choose at least one product.",
    ("missing", "$.shipping_address"): "Say where it should be delivered.",
    ("missing", "$.buyer.email"): "Give your e-mail address.",
    ("country_not_served", "$.shipping_address.country"): "Give an address in a country that this shop delivers to.",
    ("nothing_to_pay", None): "Choose something that costs money: this order comes to nothing.",
}
NOT_ENOUGH: Final = "There is not enough left. Choose fewer, or something else."
# What was left out of the total, or had to be supposed in it, by a message's code.
REMARKS: Final[Mapping[str, str]] = {
    "offer_invalid": "An offer has ended. It is not in this total.",
    "offer_not_applicable": "An offer does not apply to these products. It is not in this total.",
    "discount_code_invalid": "A discount code is not valid here. It is not in this total.",
    "region_not_known": "The region of the address is not known. The tax in this total is the country's.",
}

CANCELED: Final = NoticeText(
    "This checkout was canceled",
    "Nothing more can be paid here. Go back to your conversation to start again.",
    "notice",
)
EXPIRED: Final = NoticeText(
    "This checkout has expired",
    "Prices and products are held for a short time only. Go back to your conversation and ask for a new link.",
    "clock",
)
NOTICES: Final[Mapping[Notice, NoticeText]] = {
    Notice.NOT_FOUND: NoticeText(
        "We cannot find this page",
        "Check that you opened the whole link, or go back to your conversation and ask for a new one.",
        "notice",
    ),
    Notice.CLIENT_REFUSED: NoticeText(
        "This assistant cannot be connected",
        "The link does not say in a way that can be checked which program wants to be connected, or where to send you back to. "
        "Nothing was shared. Go back to your assistant and start again there.",
        "notice",
        "warning",
    ),
    Notice.CLIENT_MISTAKEN: NoticeText(
        "This assistant asked for what it cannot have",
        "Nothing was shared. If you started this yourself, go back: the program is told why, and can begin again.",
        "notice",
    ),
    Notice.REQUEST_ENDED: NoticeText(
        "This sign-in has ended",
        "It was finished, took too long, or began in another browser. Nothing was shared. Go back to your assistant and start "
        "again there.",
        "clock",
    ),
    Notice.TOO_OFTEN: NoticeText(
        "Too many sign-ins for now",
        "Many were begun from here in a short time. Wait an hour, then start again in your assistant.",
        "clock",
    ),
    Notice.SIGNED_OUT: NoticeText(
        "You are signed out",
        "This browser no longer shows your account. What is connected to it stays connected.",
        "lock",
    ),
    Notice.UNAVAILABLE: NoticeText(
        "We cannot show your order just now",
        "Please wait a minute and load this page again. If that does not help, go back to your conversation and ask how "
        "your order stands before you pay.",
        "notice",
        "warning",
    ),
}
