"""The pages on which a shopper lets an assistant in: where to send the code, the code, the consent. Pure, as render.py."""

from enum import Enum
from typing import Final

from commerce_api.pages.render import render_template
from commerce_api.pages.texts import Alert


class Step(Enum):
    """What the shopper is asked."""

    EMAIL = "sign_in.html"
    CODE = "sign_in_code.html"
    CONSENT = "consent.html"


PROBLEMS: Final = {
    "email": Alert("That is not an e-mail address", "Type it once more, such as name@mail.example."),
    "code": Alert(
        "That code does not work",
        "Look at the newest message again. A code lasts ten minutes and can be tried five times; you can ask for another.",
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
) -> str:
    """The page as a whole HTML document. Names are the client's own word and untrusted; the hosts are what was checked.

    ``client_name`` is None where no client asks, but a page of this site. ``limits`` are what it may be let spend, minor
    units and text; none where it may not pay.
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
        path=path,
        redirect_host=redirect_host,
        sandbox=False,
    )
