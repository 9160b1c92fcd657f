"""The role that a side serves as on PostgreSQL: rights to rows, stated table by table, and nothing else.

A side's tables belong to one role, which migrates, and are served by another. So triggers and the record hold against a serving
process too: it may not turn them off.

What holds behind ``serve_as``:
 1. The role can pass nothing by: it is no superuser and no member of another role, owns nothing here, may make no roles and
    databases, and may not turn triggers off for its session. One that could is refused.
 2. Of each table it has the rights that are stated, and no others; of a table that nobody stated it has none.
 3. It makes nothing: no table, no temporary one, no function. Nobody does but the owner.
"""

import base64
import hashlib
import hmac
import re
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # a command that asks for no database does not wait for it
    from sqlalchemy.engine import Connection

Rights = Mapping[str, Sequence[str]]  # a table's name, and what GRANT says of it

READ: Final = ("SELECT",)
APPEND: Final = ("SELECT", "INSERT")
CHANGE: Final = (*APPEND, "UPDATE")
REMOVE: Final = (*APPEND, "DELETE")
ALL: Final = (*CHANGE, "DELETE")
MAINTAIN: Final = "MAINTAIN"  # to vacuum; PostgreSQL has it from version 17 on
# The record is added to; the sequencer says an event's place, and changes nothing else of it.
RECORD: Final[Rights] = {"audit_event": (*APPEND, "UPDATE (leaf_index)"), "alembic_version": READ}
PASSWORD_CHARACTERS_MINIMUM: Final = 16
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_RIGHT: Final = re.compile(r"(\w+)(?: \((\w+)\))?", re.ASCII)
_ITERATIONS: Final = 4096  # PostgreSQL's own; the password is drawn, not thought of


class NotPermitted(RuntimeError):
    """The database's role lacks a right that this needs. Nothing was done. Its owner's ``migrate`` gives what is lacking."""


class RoleRefused(RuntimeError):
    """A role cannot be served as. Says why."""


def serve_as(connection: "Connection", role: str, rights: Rights, *, password: str | None = None) -> None:
    """Gives a role its rights in the owner's open transaction; makes it where it is not there. ``password``: its new one.

    Raises RoleRefused; NotPermitted where the one who asks may not give them.
    """
    if connection.dialect.name != "postgresql":
        raise RoleRefused("SQLite has no roles: who can write its file can write everything in it")
    if not _NAME.fullmatch(role):
        raise RoleRefused("a role's name is of small letters, digits and underscores, 63 at most")
    _make(connection, role, password)
    if reasons := _ways_past(connection, role):  # (1)
        raise RoleRefused(f"the role {role} cannot be served as: it {', and '.join(reasons)}")
    for statement in _statements(connection, role, rights):
        connection.exec_driver_sql(statement)
    if lacking(connection, rights, role):  # to give what one has not got is a warning to PostgreSQL
        raise NotPermitted


def require(connection: "Connection", rights: Rights) -> None:
    """Raises NotPermitted where the connection's own role lacks one of the rights."""
    if connection.dialect.name == "postgresql" and lacking(connection, rights):
        raise NotPermitted


def lacking(connection: "Connection", rights: Rights, role: str | None = None) -> list[str]:
    """Which of the rights a role lacks, as ``UPDATE on brand``; the connection's own without one."""
    wanted = [(table, *_parts(right)) for table, of in rights.items() for right in _known(connection, of)]
    names, verbs, parts = (list(column) for column in zip(*wanted, strict=True))
    rows = connection.exec_driver_sql(_LACKING, (role, names, verbs, parts))
    return [f"{verb} on {name}" for name, verb in rows]


_LACKING: Final = (
    "SELECT name, verb FROM unnest($2::text[], $3::text[], $4::text[]) AS wanted (name, verb, part), "
    "(SELECT coalesce($1::name, current_user)) AS asked (role) WHERE NOT coalesce("
    "CASE WHEN part = '' THEN has_table_privilege(role, to_regclass(name), verb) "
    "ELSE has_column_privilege(role, to_regclass(name), part, verb) END, false)"
)


def verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803): so the password itself is in no statement, and in no log of one."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode("ascii") for part in (salt, stored, server))
    return f"SCRAM-SHA-256${_ITERATIONS}:{salt64}${stored64}:{server64}"


def _make(connection: "Connection", role: str, password: str | None) -> None:
    if password is not None and not (password.isascii() and len(password) >= PASSWORD_CHARACTERS_MINIMUM):
        raise RoleRefused(f"a role's password is of {PASSWORD_CHARACTERS_MINIMUM} ASCII characters or more")
    there = connection.exec_driver_sql("SELECT 1 FROM pg_roles WHERE rolname = $1", (role,)).scalar()
    if there is None:
        connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN")
    if password is not None:
        connection.exec_driver_sql(f"ALTER ROLE {role} PASSWORD '{verifier(password)}'")


# Each is a question to the catalogue, true of a role that could pass its rights by, and what is said of it then (1).
_WAYS_PAST: Final = {
    "SELECT $1::name = current_user": "is the one that migrates",
    "SELECT rolsuper OR rolbypassrls OR rolreplication FROM pg_roles WHERE rolname = $1": "is a superuser, or almost",
    "SELECT rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = $1": "may make roles or databases",
    "SELECT EXISTS (SELECT FROM pg_auth_members WHERE member = to_regrole($1::text))": "is a member of another role",
    "SELECT EXISTS (SELECT FROM pg_shdepend WHERE refobjid = to_regrole($1::text) AND deptype = 'o')": (
        "owns something on this server"
    ),
}
_SETS_TRIGGERS: Final = (
    "SELECT has_parameter_privilege($1::name, 'session_replication_role', 'SET')"  # since PostgreSQL 15
)


def _ways_past(connection: "Connection", role: str) -> list[str]:
    asked = dict(_WAYS_PAST)
    if _version(connection) >= 15:
        asked[_SETS_TRIGGERS] = "may turn triggers off for its session"
    return [said for question, said in asked.items() if connection.exec_driver_sql(question, (role,)).scalar()]


def _statements(connection: "Connection", role: str, rights: Rights) -> list[str]:
    database, schema = connection.exec_driver_sql(
        "SELECT quote_ident(current_database()), quote_ident(current_schema())"
    ).one()
    by_right = defaultdict(list)
    for table, of in rights.items():
        for right in _known(connection, of):
            by_right[right].append(table)
    return [
        f"REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC, {role}",  # (3)
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {role}",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM PUBLIC, {role}",  # (2)
        f"REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM PUBLIC, {role}",
        f"GRANT CONNECT ON DATABASE {database} TO {role}",
        f"GRANT USAGE ON SCHEMA {schema} TO {role}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        *(f"GRANT {right} ON {', '.join(tables)} TO {role}" for right, tables in by_right.items()),
    ]


def _known(connection: "Connection", rights: Sequence[str]) -> Sequence[str]:
    return [right for right in rights if right != MAINTAIN or _version(connection) >= 17]


def _version(connection: "Connection") -> int:
    info = connection.dialect.server_version_info
    return int(info[0]) if info else 0


def _parts(right: str) -> tuple[str, str]:
    found = _RIGHT.fullmatch(right)
    if found is None:
        raise ValueError("a right is a verb, and a column in brackets where it is for that alone")
    return found[1], found[2] or ""
