"""What agents say to buy something from the example store."""

from typing import Any

MUG, KETTLE, OFF_SHELF = "hp-mug-sea-300ml", "hp-kettle-oat", "hp-casserole-brick"
EMAIL = "robin@shopper.example"
ADDRESS: dict[str, Any] = {
    "name": "Robin Field",
    "line1": "12 Quay Street",
    "city": "Portland",
    "region": "OR",
    "postal_code": "97209",
    "country": "US",
}


def lines(variant: str = MUG, quantity: Any = 2) -> list[dict[str, Any]]:
    """One line."""
    return [{"variant_id": variant, "quantity": quantity}]


def ready(**changes: Any) -> dict[str, Any]:
    """Everything that a checkout needs to be paid, with changes."""
    return {
        "lines": lines(),
        "buyer": {"name": "Robin Field", "email": EMAIL},
        "shipping_address": ADDRESS,
        "shipping_option_id": "standard",
        **changes,
    }
