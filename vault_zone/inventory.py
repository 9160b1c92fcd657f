"""What is on record of identities and certificates: each change is recorded once (PCI DSS 10.2.1.5, 4.2.1.1).

The command line that issues works beside an authority that may have no network, so it is the zone that records, when it reads
the files: the rows remember what was recorded, and commit with the events.
"""

import json

from sqlalchemy import select, update

from audit.event import Event, EventType
from audit.transaction import Transaction
from tokenization.clock import as_text
from vault_zone.access_file import AccessFile, Certificate, Entry
from vault_zone.hazmat.pki import Issued
from vault_zone.identity import serial_letters
from vault_zone.key_rows import ORIGIN
from vault_zone.models import access_identity, issued_certificate

ACTOR = "service:vault_zone"


def record_inventory(tx: Transaction, file: AccessFile) -> None:
    """Records what the file tells that the rows do not know yet. Running it again changes nothing."""
    known = {row.identity: row for row in tx.execute(select(access_identity))}
    serials = [one.serial for entry in file.identities.values() for one in entry.certificates]
    found = tx.execute(select(issued_certificate).where(issued_certificate.c.serial.in_(serials)))
    certificates = {row.serial: row.revoked_ms for row in found}
    for name, entry in sorted(file.identities.items()):
        for one in entry.certificates:
            if one.serial not in certificates:
                _issued(tx, name, entry, one)
            if one.revoked_ms is not None and certificates.get(one.serial) is None:
                _revoked(tx, name, one)
        row = known.get(name)
        if row is None or (row.role, json.loads(row.merchants)) != (entry.role, sorted(entry.merchants)):
            _permitted(tx, name, entry, is_new=row is None)
    for name, row in sorted(known.items()):
        if name not in file.identities and row.role is not None:
            _permitted(tx, name, Entry(), is_new=False)


def record_reload(tx: Transaction, own: Issued | None, reason: str) -> None:
    """Records that the files were read anew, or (without a certificate) that they did not serve."""
    data: dict[str, str | int | bool] = {"reason": reason}
    if own is not None:
        data |= {"serial": serial_letters(own.serial), "expires_at": as_text(own.expires_ms)}
    _record(tx, EventType.CERTIFICATES_RELOADED, "listener:internal", data, succeeded=own is not None)


def _issued(tx: Transaction, name: str, entry: Entry, one: Certificate) -> None:
    tx.execute(
        issued_certificate.insert().values(
            serial=one.serial,
            identity=name,
            issued_ms=one.issued_ms,
            expires_ms=one.expires_ms,
            revoked_ms=None,
        )
    )
    data: dict[str, str | int | bool] = {
        "identity": name,
        "kind": "listener" if one.hosts else "caller",
        "serial": serial_letters(one.serial),
        "expires_at": as_text(one.expires_ms),
        "algorithm": "p-256",
    }
    _record(tx, EventType.IDENTITY_ISSUED, name, data | ({"role": entry.role} if entry.role else {}))


def _revoked(tx: Transaction, name: str, one: Certificate) -> None:
    tx.execute(
        update(issued_certificate).where(issued_certificate.c.serial == one.serial).values(revoked_ms=one.revoked_ms)
    )
    _record(tx, EventType.IDENTITY_REVOKED, name, {"identity": name, "serial": serial_letters(one.serial)})


def _permitted(tx: Transaction, name: str, entry: Entry, *, is_new: bool) -> None:
    values = {"role": entry.role, "merchants": json.dumps(sorted(entry.merchants))}
    if is_new:
        tx.execute(access_identity.insert().values(identity=name, changed_ms=tx.now_ms, **values))
    else:
        tx.execute(
            update(access_identity).where(access_identity.c.identity == name).values(changed_ms=tx.now_ms, **values)
        )
    reason = "every_merchant" if "*" in entry.merchants else "listed_merchants" if entry.merchants else "no_merchant"
    data: dict[str, str | int | bool] = {"identity": name, "count": len(entry.merchants), "reason": reason}
    _record(tx, EventType.ACCESS_CHANGED, name, data | {"role": entry.role or "none"})


def _record(
    tx: Transaction, kind: EventType, resource: str, data: dict[str, str | int | bool], *, succeeded: bool = True
) -> None:
    outcome = "success" if succeeded else "failure"
    tx.record(Event(kind, outcome, ACTOR, ORIGIN, resource, data=data))  # type: ignore[arg-type]  # one of the two
