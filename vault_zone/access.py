"""Who may ask the zone for what. Deny by default (PCI DSS 7.3.3); one answer for every reason to refuse.

A call is allowed when all of these hold, checked for every request, also on a connection that has long been open:
 1. The connection's certificate names an identity, has not ended, and is not revoked.
 2. The access policy gives that identity a role, and the role is for its kind.
 3. The role has the verb.
 4. The policy lists the merchant for that identity. Whether the merchant exists plays no part: one that a caller may not
    touch and one that was never there are refused in the same words, before any row is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from vault_zone.errors import ZoneError, ZoneRefusal
from vault_zone.identity import Identity
from vault_zone.roles import ROLES, Verb

EVERY_MERCHANT: Final = "*"


class Reason(StrEnum):
    """Why a call was refused: for the record, never for the caller."""

    NO_IDENTITY = "no_identity"
    CERTIFICATE_ENDED = "certificate_ended"
    CERTIFICATE_REVOKED = "certificate_revoked"
    NOT_IN_POLICY = "not_in_policy"
    VERB_NOT_IN_ROLE = "verb_not_in_role"
    MERCHANT_NOT_LISTED = "merchant_not_listed"


class AccessRefused(ZoneRefusal):
    """The caller may not. The caller sees the kind alone; identity, reason and role are for the record."""

    def __init__(self, caller: "Caller", reason: Reason) -> None:
        super().__init__(ZoneError.CALLER_UNKNOWN)
        self.caller = caller
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Permission:
    """A role, and the merchants it is for. ``*`` among them stands for every merchant."""

    role: str
    merchants: frozenset[str]

    def covers(self, merchant: str) -> bool:
        """Whether the merchant is listed. EVERY_MERCHANT is covered by itself alone."""
        return EVERY_MERCHANT in self.merchants or (merchant != EVERY_MERCHANT and merchant in self.merchants)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request, with what the policy of this moment gives it. By default: nobody, and nothing."""

    identity: Identity | None = None
    permission: Permission | None = None
    reason: Reason = Reason.NO_IDENTITY  # why there is no permission

    @property
    def actor(self) -> str:
        """The name for the record. Nobody's is ``caller:unknown``."""
        return str(self.identity) if self.identity else "caller:unknown"


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Which identity has which permission."""

    permissions: Mapping[Identity, Permission] = field(default_factory=dict)

    def caller(self, identity: Identity) -> Caller:
        """The identity as a caller (2)."""
        permission = self.permissions.get(identity)
        role = ROLES.get(permission.role) if permission else None
        if permission is None or role is None or role.kind is not identity.kind:
            return Caller(identity, None, Reason.NOT_IN_POLICY)
        return Caller(identity, permission)


def require(caller: Caller, verb: Verb, merchant: str | None = None) -> str:
    """The actor's name for the record. Raises AccessRefused unless the policy allows the verb for the merchant.

    ``merchant`` is None only where the call concerns none; EVERY_MERCHANT where it concerns all of them.
    """
    if caller.permission is None:
        raise AccessRefused(caller, caller.reason)  # (1) (2)
    if verb not in ROLES[caller.permission.role].verbs:
        raise AccessRefused(caller, Reason.VERB_NOT_IN_ROLE)  # (3)
    if merchant is not None and not caller.permission.covers(merchant):
        raise AccessRefused(caller, Reason.MERCHANT_NOT_LISTED)  # (4)
    return caller.actor


@dataclass(frozen=True, slots=True)
class Permitted:
    """A caller whose role has the verb of the route it calls. For which merchant is still to be asked."""

    caller: Caller
    verb: Verb

    @property
    def actor(self) -> str:
        """The caller's name for the record, for a call that concerns no merchant."""
        return self.caller.actor

    def acting_for(self, merchant: str) -> str:
        """The caller's name for the record. Raises AccessRefused when the merchant is not listed for it (4)."""
        return require(self.caller, self.verb, merchant)

    def may_touch(self, merchant: str | None) -> bool:
        """Whether what belongs to this merchant (None: to all of them) may be shown to the caller."""
        return self.caller.permission is not None and self.caller.permission.covers(merchant or EVERY_MERCHANT)
