"""The body of UCP's ``POST /tokenize``: a credential, and the binding of its token.

Both forms of the binding are taken: ``{checkout_id, identity}`` of the versions before 2026-08-25, and since then
``{type, id, identity}``, in which ``type`` names the capability that owns ``id``. UCP is open to fields that it does not know;
those of a credential are dropped with what is left of it when the card was taken out.
"""

from typing import Any

from tokenization.clock import as_datetime
from vault_zone.delegation.identifiers import is_identifier
from vault_zone.delegation.sent_card import FieldNames, FieldRefused, SentCard, take_card
from vault_zone.delegation.ucp_errors import UcpError, UcpRefused
from vault_zone.platforms import Platform

CARD_NAMES = FieldNames()
CHECKOUT_CAPABILITY = "dev.ucp.shopping.checkout"
PAN, NETWORK_TOKEN = "pan", "network_token"
_TEXTS = ("token_requestor_id",)  # the published type has it, and no processor of the zone asks for it
_OF_THE_FORM = frozenset({"not_text", "not_an_integer", "missing"})


def merchant_of(content: dict[str, Any], platform: Platform) -> str:
    """The participant that the token is bound to: the identity named, or the platform's one merchant. Raises UcpRefused."""
    binding = content.get("binding")
    if not isinstance(binding, dict):
        raise UcpRefused(UcpError.INVALID_REQUEST, "$.binding", "missing")
    if "identity" not in binding:
        if len(platform.merchants) != 1:
            raise UcpRefused(UcpError.INVALID_REQUEST, "$.binding.identity", "missing")
        return next(iter(platform.merchants))
    identity = binding["identity"]
    merchant = identity.get("access_token") if isinstance(identity, dict) else None
    if not isinstance(merchant, str):
        raise UcpRefused(UcpError.INVALID_REQUEST, "$.binding.identity.access_token", "missing")
    if merchant not in platform.merchants:
        raise UcpRefused(UcpError.IDENTITY_NOT_ALLOWED, "$.binding.identity.access_token", "not_of_this_platform")
    return merchant


def checkout_of(content: dict[str, Any]) -> str:
    """The checkout that the token is bound to. Raises UcpRefused."""
    binding = content["binding"]
    name = "id" if "checkout_id" not in binding and "type" in binding else "checkout_id"
    if "type" in binding and binding["type"] != CHECKOUT_CAPABILITY:
        raise UcpRefused(UcpError.INVALID_REQUEST, "$.binding.type", "not_a_checkout")
    checkout = binding.get(name)
    if not isinstance(checkout, str):
        raise UcpRefused(UcpError.INVALID_REQUEST, f"$.binding.{name}", "missing")
    if not is_identifier(checkout) or binding.get("id", checkout) != checkout:
        raise UcpRefused(UcpError.INVALID_REQUEST, f"$.binding.{name}", "identifier_form")
    return checkout


def credential_of(content: dict[str, Any], now_ms: int) -> SentCard:
    """Takes the card out of the credential; none of its fields is left in the content. Raises UcpRefused."""
    credential = content.get("credential")
    if not isinstance(credential, dict):
        raise UcpRefused(UcpError.INVALID_REQUEST, "$.credential", "missing")
    kind = credential.get("type")
    try:
        return take_card(
            credential,
            CARD_NAMES,
            is_network_token=_kind_of(kind, credential) == NETWORK_TOKEN,
            postal_code=None,
            now=as_datetime(now_ms),
        )
    except FieldRefused as refused:
        of_the_form = refused.code in _OF_THE_FORM and refused.name != CARD_NAMES.cryptogram
        error = UcpError.INVALID_REQUEST if of_the_form else UcpError.INVALID_CREDENTIAL
        raise UcpRefused(error, f"$.credential.{refused.name}", refused.code) from None
    finally:
        for name in CARD_NAMES.fields():
            credential.pop(name, None)


def _kind_of(kind: object, credential: dict[str, Any]) -> str:
    if not isinstance(kind, str):
        raise UcpRefused(UcpError.INVALID_REQUEST, "$.credential.type", "missing")
    if kind not in (PAN, NETWORK_TOKEN):
        raise UcpRefused(UcpError.INVALID_CREDENTIAL, "$.credential.type", "not_taken")
    for name in _TEXTS:
        if not isinstance(credential.get(name, ""), str):
            raise UcpRefused(UcpError.INVALID_REQUEST, f"$.credential.{name}", "not_text")
    return kind
