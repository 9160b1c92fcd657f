"""When it would be there: the policy's own days, counted from an order of today. Nothing else is promised (I6)."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Literal

from commerce_api.checkout.totals import shipping_price_minor
from commerce_api.policy import ShippingOption
from commerce_api.schemas import DeliveryView
from commerce_api.views import money_view


def delivery_views(
    options: Sequence[ShippingOption], currency: str, today: date, deadline: date | None, subtotal_minor: int | None
) -> list[DeliveryView]:
    """Each way to ship, the cheapest first. Its price depends on the goods: without a subtotal it has none."""
    return [
        DeliveryView(
            shipping_option_id=option.id,
            title=option.title,
            price=money_view(shipping_price_minor(option, subtotal_minor), currency)
            if subtotal_minor is not None
            else None,
            delivery_days_min=option.delivery_days_min,
            delivery_days_max=option.delivery_days_max,
            earliest=str(today + timedelta(days=option.delivery_days_min)),
            latest=str(today + timedelta(days=option.delivery_days_max)),
            in_time=_in_time(option, today, deadline),
        )
        for option in sorted(options, key=lambda option: (option.price_minor, option.id))
    ]


def _in_time(option: ShippingOption, today: date, deadline: date | None) -> Literal["yes", "perhaps", "no"] | None:
    if deadline is None:
        return None
    left_days = (deadline - today).days
    if option.delivery_days_max <= left_days:
        return "yes"
    return "perhaps" if option.delivery_days_min <= left_days else "no"
