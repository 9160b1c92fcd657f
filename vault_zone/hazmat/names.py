"""A merchant's id as part of the name of a key elsewhere: the same id gives the same name, two ids never one."""

import hashlib
import re
from typing import Final

_PLAIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?", re.ASCII)


def key_name_part(merchant: str) -> str:
    """Letters, digits, ``-`` and ``_`` only: ``m-`` and a plain id itself, or ``x-`` and the SHA-256 of any other one."""
    if _PLAIN.fullmatch(merchant):
        return f"m-{merchant}"
    return f"x-{hashlib.sha256(merchant.encode()).hexdigest()}"
