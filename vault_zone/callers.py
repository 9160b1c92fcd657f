"""What a route of the internal API says of itself: which verb it is. Without one, no handler learns who calls.

    @router.post("/charges")
    async def post_charge(asked: ChargeRequest, zone: ZoneIn, caller: Annotated[Permitted, asks(Verb.CHARGE)]) -> Charge:
        return await zone.engine.charge(asked, caller.acting_for(asked.merchant))

A merchant in the path is checked here; one in the body by the handler, with ``acting_for``.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from vault_zone.access import Caller, Permitted, require
from vault_zone.roles import Verb
from vault_zone.runtime import Zone

PEER = "cordon.peer"  # the scope's extension that serve.py fills from the verified certificate; no header is ever read


def zone_of(request: Request) -> Zone:
    """The running zone."""
    zone: Zone = request.app.state.zone
    return zone


ZoneIn = Annotated[Zone, Depends(zone_of)]


def caller_of(request: Request) -> Caller:
    """Who calls, by the certificate of the connection and the permissions of this moment."""
    zone = zone_of(request)
    return zone.access.caller(request.scope.get("extensions", {}).get(PEER), zone.clock())


class Asks:
    """The dependency that a route's verb is: refuses who may not, before anything else of the request is looked at."""

    def __init__(self, verb: Verb) -> None:
        self.verb = verb

    async def __call__(self, request: Request) -> Permitted:
        """Raises AccessRefused."""
        caller = caller_of(request)
        require(caller, self.verb, request.path_params.get("merchant"))
        return Permitted(caller, self.verb)


def asks(verb: Verb) -> Any:
    """The route's verb, as the default of a parameter of type Permitted."""
    return Depends(Asks(verb))


def verbs_of(route: APIRoute) -> list[Verb]:
    """The verbs a route declares. Right is exactly one."""
    return [called.verb for called in _called(route.dependant) if isinstance(called, Asks)]


def _called(dependant: Dependant) -> Iterator[object]:
    for inner in dependant.dependencies:
        yield inner.call
        yield from _called(inner)
