"""The endpoints of charges, faults and pages."""

from typing import Any, Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from vault_zone.processors.sandbox_server.cards import holds_card_number
from vault_zone.processors.sandbox_server.charges import Charges
from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.faults import Faults
from vault_zone.processors.sandbox_server.objects import Charge, charge_object
from vault_zone.processors.sandbox_server.pages import TEMPLATES, Pages, page_policy, return_address
from vault_zone.processors.sandbox_server.requests import (
    Endpoint,
    answer_query,
    idempotency_key,
    json_response,
    keyed,
    read_body,
    replied,
)
from vault_zone.processors.sandbox_server.store import Store
from vault_zone.processors.sandbox_server.wire import FaultInput, Operation, read, read_charge

_STATIC_FILES: Final = {"sandbox.css": "text/css", "icon.svg": "image/svg+xml"}
_OUTCOMES: Final = {"approve": True, "fail": False}


def _outcome(form: bytes) -> bool | None:
    """Whether the shopper approved, or None for anything but one known outcome."""
    try:
        outcomes = parse_qs(form.decode("ascii"), max_num_fields=8).get("outcome", [])
    except ValueError:
        return None
    return _OUTCOMES.get(outcomes[0]) if len(outcomes) == 1 else None


class Endpoints:
    """Charges, faults and pages: one method for each route."""

    def __init__(
        self, *, store: Store, api_key: bytes, public_url: str, charges: Charges, faults: Faults, pages: Pages
    ) -> None:
        self._store = store
        self._api_key = api_key
        self._public_url = public_url
        self._charges = charges
        self._faults = faults
        self._pages = pages

    def routes(self) -> list[Route]:
        """The API behind the key, then the pages, which a shopper's browser opens without one."""

        def guarded(endpoint: Endpoint) -> Endpoint:
            return keyed(self._api_key, endpoint)

        return [
            Route("/v1/charges", guarded(self.create_charge), methods=["POST"]),
            Route("/v1/charges", guarded(self.list_charges), methods=["GET"]),
            Route("/v1/charges/{charge_id}", guarded(self.read_charge), methods=["GET"]),
            Route("/sandbox/charges", guarded(self.count_charges), methods=["GET"]),
            Route("/sandbox/faults", guarded(self.add_fault), methods=["POST"]),
            Route("/sandbox/faults", guarded(self.clear_faults), methods=["DELETE"]),
            Route("/sandbox/reset", guarded(self.reset), methods=["POST"]),
            Route("/health", self.health),
            Route("/", self.index),
            Route("/acs/{challenge_id}", self.show_challenge, methods=["GET"]),
            Route("/acs/{challenge_id}", self.end_challenge, methods=["POST"]),
            Route("/static/{name}", self.static_file),
        ]

    async def create_charge(self, request: Request) -> Response:
        """``POST /v1/charges``."""
        key = idempotency_key(request)
        order = read_charge(await read_body(request), self._store.fingerprint_key)
        fault = self._faults.take(Operation.CREATE)
        reply = await self._charges.create(key, order, fault, request.receive)
        return replied(reply)

    async def read_charge(self, request: Request) -> Response:
        """``GET /v1/charges/{id}``."""

        def on_record() -> dict[str, Any]:
            charge = self._store.charge(request.path_params["charge_id"])
            if charge is None:
                raise Refusal(ErrorCode.NOT_FOUND)
            return self._shown(charge)

        return await answer_query(self._faults, Operation.QUERY, on_record)

    async def list_charges(self, request: Request) -> Response:
        """``GET /v1/charges?reference=…``: an empty list says that no charge with this reference was made."""
        reference = request.query_params.get("reference", "")
        if not reference or holds_card_number(reference):
            raise Refusal(ErrorCode.INVALID_REQUEST, ("reference",))

        def on_record() -> dict[str, Any]:
            found = [self._shown(charge) for charge in self._store.charges_of(reference)]
            return {"object": "list", "charges": found, "sandbox": True}

        return await answer_query(self._faults, Operation.QUERY, on_record)

    def _shown(self, charge: Charge) -> dict[str, Any]:
        return charge_object(charge, self._public_url)

    async def count_charges(self, _: Request) -> Response:
        """``GET /sandbox/charges``: every charge there is, for tests that count effects."""
        shown = ("id", "reference", "status", "amount_minor", "captured_minor", "refunded_minor", "currency")
        charges = [
            {**{name: getattr(charge, name) for name in shown}, "last4": charge.last4}
            for charge in self._store.all_charges()
        ]
        return json_response({"object": "list", "count": len(charges), "charges": charges, "sandbox": True})

    async def add_fault(self, request: Request) -> Response:
        """``POST /sandbox/faults``."""
        self._faults.add(read(FaultInput, await read_body(request)))
        return self._fault_count()

    async def clear_faults(self, _: Request) -> Response:
        """``DELETE /sandbox/faults``."""
        self._faults.clear()
        return self._fault_count()

    def _fault_count(self) -> Response:
        return json_response({"object": "faults", "pending": self._faults.pending(), "sandbox": True})

    async def reset(self, _: Request) -> Response:
        """``POST /sandbox/reset``: no charges, no answers, no events, no faults."""
        self._store.reset()
        self._faults.clear()
        return json_response({"object": "reset", "sandbox": True})

    async def health(self, _: Request) -> Response:
        """``GET /health``."""
        return json_response({"status": "ok", "sandbox": True})

    async def index(self, _: Request) -> Response:
        """``GET /``: the list of test cards."""
        return _page(self._pages.index())

    async def show_challenge(self, request: Request) -> Response:
        """``GET /acs/{challenge_id}``: whoever has the address is taken for the shopper."""
        charge = self._store.charge_of_challenge(request.path_params["challenge_id"])
        if charge is None:
            return self._no_challenge()
        return _page(self._pages.challenge(charge), form_target=charge.return_url)

    async def end_challenge(self, request: Request) -> Response:
        """``POST /acs/{challenge_id}`` with ``outcome=approve|fail``; sent twice, the first outcome stands."""
        challenge_id = request.path_params["challenge_id"]
        if self._store.charge_of_challenge(challenge_id) is None:
            return self._no_challenge()
        approved = _outcome(await read_body(request))
        if approved is None:
            text = self._pages.problem("That was not an answer", "Go back and choose one of the two buttons.")
            return _page(text, 422)
        ended = self._charges.end_challenge(challenge_id, approved=approved)
        return self._no_challenge() if ended is None else RedirectResponse(return_address(ended), 303)

    def _no_challenge(self) -> Response:
        advice = "The link may be incomplete, or the sandbox was reset. Go back to the shop and pay again."
        return _page(self._pages.problem("No such authentication", advice), 404)

    async def static_file(self, request: Request) -> Response:
        """``GET /static/{name}``: the style sheet and the icon."""
        name = request.path_params["name"]
        if name not in _STATIC_FILES:
            raise Refusal(ErrorCode.NOT_FOUND)
        return FileResponse(TEMPLATES / name, media_type=_STATIC_FILES[name])


def _page(text: str, status: int = 200, form_target: str = "") -> Response:
    return HTMLResponse(text, status, {"Content-Security-Policy": page_policy(form_target)})
