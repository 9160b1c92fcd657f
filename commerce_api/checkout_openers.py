"""Who may open a checkout's page.

What holds:
 1. A checkout that the assistant of a signed-in shopper began is shown and paid only in a browser in which that shopper is
    signed in: a link sent on has nobody pay, or save a card, for somebody else (MCP, elicitation: who opens the address is who
    began).
 2. Any other browser learns nothing of it: not what is bought, nor for whom.
 3. A checkout that nobody signed for is opened by its address, as any web shop's is. So is that of a shopper who signed in
    at an issuer of the brand's own: this site cannot sign them in.
"""

from sqlalchemy import select
from sqlalchemy.engine import Connection

from commerce_api.authorization import browser_session
from commerce_api.checkout.service import shopper_principal
from commerce_api.models import checkout as checkout_table
from commerce_api.models import shopper_account
from commerce_api.runtime import Commerce
from tokenization.ids import is_id


async def may_open(commerce: Commerce, brand: str, checkout: str, session: str) -> bool:
    """Whether a browser with this session may see the checkout; True too where there is no such checkout."""
    now_ms = commerce.clock()

    def work(connection: Connection) -> bool:
        owner = _account_of(connection, brand, checkout)
        return owner is None or owner == browser_session.shopper_of(connection, brand, session, now_ms)  # (1)

    return await commerce.database.read(work)


def _account_of(connection: Connection, brand: str, checkout: str) -> str | None:
    """The shopper of this site's own sign-in who began the checkout (3)."""
    if not is_id(checkout, "chk"):
        return None
    principal = connection.execute(
        select(checkout_table.c.principal).where(checkout_table.c.id == checkout, checkout_table.c.brand == brand)
    ).scalar()
    shopper = str(principal or "").removeprefix(shopper_principal(""))
    if principal != shopper_principal(shopper):
        return None
    known: str | None = connection.execute(
        select(shopper_account.c.id).where(shopper_account.c.id == shopper, shopper_account.c.brand == brand)
    ).scalar()
    return known
