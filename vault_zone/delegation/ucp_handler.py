"""What a business puts into ``payment_handlers`` of its UCP profile so that platforms find the zone's tokenizer.

The form is that of UCP's "processor tokenizer" and of ``payment_handler.json#/$defs/business_schema``. It holds nothing secret:
the identity names the merchant, and only a platform's bearer key lets anybody tokenize for it.
"""

import re
from typing import Any

from vault_zone.card import Brand
from vault_zone.delegation.ucp import BASE_PATH

UCP_VERSION = "2026-08-25"
HANDLER_ID = "cordon_cards"
# As UCP's reverse_domain_name.json has it.
_REVERSE_DOMAIN = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9_-]*[a-z0-9_])?)+")


class HandlerNameInvalid(ValueError):
    """The name is not a reverse domain name, as in com.example.cards."""


def handler_declaration(
    name: str, merchant: str, *, public_url: str, is_production: bool, spec_url: str | None, schema_url: str | None
) -> dict[str, Any]:
    """The entry of ``payment_handlers``. ``public_url`` is where platforms reach the zone. Raises HandlerNameInvalid."""
    if not _REVERSE_DOMAIN.fullmatch(name):
        raise HandlerNameInvalid
    documents = {"spec": spec_url, "schema": schema_url}
    brands = sorted(brand.value for brand in Brand)
    return {
        name: [
            {
                "id": HANDLER_ID,
                "version": UCP_VERSION,
                **{field: url for field, url in documents.items() if url},
                "available_instruments": [{"type": "card", "constraints": {"properties": {"brand": {"enum": brands}}}}],
                "config": {
                    "environment": "production" if is_production else "sandbox",
                    "endpoint": public_url.rstrip("/") + BASE_PATH,
                    "business_id": merchant,
                    "identity": {"access_token": merchant},
                },
            }
        ]
    }
