"""The environment variables that the zone keeps, drops, and will not start with in production (PCI DSS 2.2.1, 2.2.6).

Libraries read the environment on their own: to write TLS keys to a file, to send requests by a proxy, to load code. So what is
not known to be needed is dropped before any of them is asked for anything, and what has done its work by then is refused.
"""

import re
from collections.abc import MutableMapping
from typing import NamedTuple

from vault_zone.settings import PRODUCTION, SettingsRefused

# Ours and PostgreSQL's; key providers' own; what an operating system and a service manager set.
_KEPT = re.compile(
    r"CORDON_\w+|PG(?:PASSFILE|SSLROOTCERT|SSLMODE|TZ)|VAULT_\w+|SOFTHSM2_CONF|KUBERNETES_SERVICE_(?:HOST|PORT)"
    r"|PATH|HOME|USER|LOGNAME|HOSTNAME|SHELL|TERM|TZ|TMPDIR|LANG|LANGUAGE|LC_\w+"
    r"|NOTIFY_SOCKET|INVOCATION_ID|JOURNAL_STREAM|CREDENTIALS_DIRECTORY|STATE_DIRECTORY"
    r"|PYTHONUNBUFFERED|PYTHONDONTWRITEBYTECODE|PYTHONUTF8"
)
# Each of these has changed the process, or would change it behind our back, before a line of ours runs.
_REFUSED = (
    (re.compile(r"SSLKEYLOGFILE"), "writes the keys of every TLS connection to a file"),
    (re.compile(r"LD_(?:PRELOAD|AUDIT|LIBRARY_PATH|DEBUG\w*|PROFILE\w*)"), "loads or watches code in the process"),
    (re.compile(r"GCONV_PATH|MALLOC_TRACE|GLIBC_TUNABLES"), "changes the C library"),
    (re.compile(r"OPENSSL_(?:CONF|MODULES|ENGINES)"), "changes the cryptography"),
    (re.compile(r"PYTHON(?:INSPECT|STARTUP|BREAKPOINT)"), "runs a prompt or code of its own"),
    (re.compile(r"PYTHON(?:PATH|HOME|USERBASE|PLATLIBDIR|PYCACHEPREFIX)"), "loads code from elsewhere"),
    (
        re.compile(r"PYTHON(?:DEVMODE|DEBUG|ASYNCIODEBUG|FAULTHANDLER|TRACEMALLOC|MALLOC\w*|DUMP\w+)"),
        "prints what is in memory",
    ),
)


class Kept(NamedTuple):
    """How many variables were kept and dropped. Names of dropped ones are not told: some systems put secrets there."""

    kept: int
    dropped: int


def lock_environment(environ: MutableMapping[str, str], environment: str) -> Kept:
    """Drops what is not on the list. Raises SettingsRefused in production for each variable that must not be set."""
    problems = refused_variables(environ) if environment == PRODUCTION else []
    if problems:
        raise SettingsRefused(problems)
    strangers = [name for name in environ if not _KEPT.fullmatch(name)]
    for name in strangers:
        del environ[name]
    return Kept(len(environ), len(strangers))


def refused_variables(environ: MutableMapping[str, str]) -> list[str]:
    """One line for each variable that is set and must not be, with its reason and never its value."""
    return [
        f"unset {name}: it {reason}"
        for name in sorted(environ)
        for pattern, reason in _REFUSED
        if pattern.fullmatch(name)
    ]
