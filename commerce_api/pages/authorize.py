"""The pages on which a shopper lets an assistant in: mailbox or passkey, code, passkey for next time, consent. As render.py."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from commerce_api.pages.render import Asset, render_template
from commerce_api.pages.texts import Alert


class Step(Enum):
    """What the shopper is asked."""

    EMAIL = "sign_in.html"
    CODE = "sign_in_code.html"
    PASSKEY = "passkey.html"
    CONSENT = "consent.html"


PROBLEMS: Final = {
    "email": Alert("That is not an e-mail address", "Type it once more, such as name@mail.example."),
    "code": Alert(
        "That code does not work",
        "Look at the newest message again. A code lasts ten minutes and can be tried five times; you can ask for another.",
    ),
    "passkey": Alert(
        "That passkey does not work here",
        "It may be for another shop, or was removed. Have a code sent to your e-mail address instead.",
    ),
    "not_added": Alert(
        "No passkey was added",
        "Nothing else has changed, and you are signed in. You can try again another time.",
        "calm",
    ),
    "too_many": Alert(
        "No more codes for now",
        "Several were asked for already. Use the newest one, or wait an hour and begin again in your assistant.",
    ),
}


def render_step(
    *,
    step: Step,
    brand_name: str,
    client_name: str | None,
    client_host: str | None,
    redirect_host: str,
    is_local: bool,
    allows: list[str],
    limits: list[tuple[int, str]],
    path: str,
    problem: str | None,
    passkey: Mapping[str, str] | None = None,
    script: Asset | None = None,
    onward: str = "/",
) -> str:
    """The page as a whole HTML document. Names are the client's own word and untrusted; the hosts are what was checked.

    ``client_name`` is None where no client asks, but a page of this site. ``limits`` are what it may be let spend, minor
    units and text; none where it may not pay. ``passkey`` is what the script needs for one: ``host`` and ``challenge``, and
    for adding one ``user`` and ``known``; None where none can be shown or added. ``script`` is None on a site that takes
    none, and ``onward`` where a shopper goes who adds none.
    """
    return render_template(
        step.value,
        alert=PROBLEMS[problem] if problem else None,
        allows=allows,
        brand_name=brand_name,
        client_host=client_host,
        client_name=client_name,
        is_local=is_local,
        limits=limits,
        onward=onward,
        passkey=passkey,
        path=path,
        redirect_host=redirect_host,
        sandbox=False,
        script=script,
    )
