"""What a card becomes outside the zone: a random token, and a grant that says what the token may be used for.

A token is 128 random bits, never derived from the card, without a digit, and gives nothing back: there is no call that turns
it into a card. On its own it is worth nothing; a charge needs a grant, and a grant names its merchant, checkout, ceiling,
currency, expiry and number of uses (I4).
"""

from tokenization.ids import is_id, new_id

TOKEN_PREFIX = "tok"  # nosec B105  # the beginning of every token, not a secret
GRANT_PREFIX = "grt"


def new_token() -> str:
    """A fresh card token."""
    return new_id(TOKEN_PREFIX)


def new_grant() -> str:
    """A fresh grant id."""
    return new_id(GRANT_PREFIX)


def is_token(text: str) -> bool:
    """Whether the text has the form of a card token."""
    return is_id(text, TOKEN_PREFIX)
