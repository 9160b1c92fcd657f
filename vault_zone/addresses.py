"""Whose request it is, as far as the trusted proxies of the zone's settings say."""

from fastapi import Request

from tokenization.addresses import Network, origin_of


def client_address(request: Request) -> str:
    """The address of who sent the request, as far as the trusted proxies of the settings say; ``unknown`` without one.

    A reason to slow somebody down, never a reason to let somebody in.
    """
    trusted: tuple[Network, ...] = request.app.state.zone.settings.trusted_proxies
    return origin_of(
        request.client.host if request.client else None, request.headers.getlist("x-forwarded-for"), trusted
    )
