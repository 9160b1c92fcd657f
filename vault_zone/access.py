"""Who may ask the zone for what: identities from client certificates, verbs by identity, deny by default (PCI DSS 7.3.3)."""

from collections.abc import Mapping
from enum import StrEnum

from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.hazmat.pki import SERVICE_URN


class Verb(StrEnum):
    """What can be asked of the internal API. There is no verb that reads a card."""

    OPEN_CAPTURE = "open_capture"
    READ_CAPTURE = "read_capture"
    CHARGE = "charge"
    READ_CHARGE = "read_charge"
    FORWARD = "forward"
    READ_FORWARD = "read_forward"
    READ_HEALTH = "read_health"
    LIST_KEYS = "list_keys"
    ROTATE_KEY = "rotate_key"
    RETIRE_KEY = "retire_key"
    REKEY = "rekey"


PERMISSIONS: Mapping[str, frozenset[Verb]] = {
    "commerce": frozenset(
        {
            Verb.OPEN_CAPTURE,
            Verb.READ_CAPTURE,
            Verb.CHARGE,
            Verb.READ_CHARGE,
            Verb.FORWARD,
            Verb.READ_FORWARD,
            Verb.READ_HEALTH,
        }
    ),
    "key_manager": frozenset({Verb.LIST_KEYS, Verb.ROTATE_KEY, Verb.RETIRE_KEY, Verb.REKEY, Verb.READ_HEALTH}),
    "monitor": frozenset({Verb.READ_HEALTH}),
}


def service_of(certificate: Mapping[str, object] | None) -> str | None:
    """The service a verified client certificate names (``ssl.SSLSocket.getpeercert`` form), or None."""
    names = certificate.get("subjectAltName", ()) if certificate else ()
    if not isinstance(names, tuple):
        return None
    services = [value for kind, value in names if kind == "URI" and value.startswith(SERVICE_URN)]
    return services[0].removeprefix(SERVICE_URN) if len(services) == 1 else None


def require(service: str | None, verb: Verb) -> str:
    """The actor's name for the record. Raises ZoneRefusal(CALLER_UNKNOWN) unless the table allows the verb."""
    if service is None or verb not in PERMISSIONS.get(service, frozenset()):
        raise ZoneRefusal(ZoneError.CALLER_UNKNOWN)
    return f"service:{service}"
