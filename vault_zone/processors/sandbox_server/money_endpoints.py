"""The endpoints of what follows a charge: captures, voids, refunds, disputes, payouts and the settlement report."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from vault_zone.processors.sandbox_server.cards import holds_card_number
from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.faults import Faults
from vault_zone.processors.sandbox_server.happenings import Happenings
from vault_zone.processors.sandbox_server.modifications import Modifications
from vault_zone.processors.sandbox_server.objects import (
    Kind,
    charge_object,
    dispute_object,
    modification_object,
    payout_object,
)
from vault_zone.processors.sandbox_server.report import settlement
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
from vault_zone.processors.sandbox_server.wire import (
    AmountOfCharge,
    ChargeReference,
    DisputeInput,
    DisputeMove,
    EvidenceInput,
    Operation,
    read,
    read_modification,
    read_period,
)

_OPERATIONS = {Kind.CAPTURE: Operation.CAPTURE, Kind.VOID: Operation.VOID, Kind.REFUND: Operation.REFUND}


class MoneyEndpoints:
    """One method for each route, all behind the key."""

    def __init__(
        self,
        *,
        store: Store,
        api_key: bytes,
        public_url: str,
        modifications: Modifications,
        happenings: Happenings,
        faults: Faults,
    ) -> None:
        self._store = store
        self._api_key = api_key
        self._public_url = public_url
        self._modifications = modifications
        self._happenings = happenings
        self._faults = faults

    def routes(self) -> list[Route]:
        """What a merchant's program asks for, then what only tests do."""
        routes: list[tuple[str, str, Endpoint]] = [
            ("POST", "/v1/charges/{charge_id}/captures", self.capture),
            ("POST", "/v1/charges/{charge_id}/void", self.void),
            ("POST", "/v1/charges/{charge_id}/refunds", self.refund),
            ("GET", "/v1/modifications", self.list_modifications),
            ("GET", "/v1/disputes", self.list_disputes),
            ("POST", "/v1/disputes/{dispute_id}/evidence", self.answer_dispute),
            ("GET", "/v1/reports/settlement", self.report),
            ("GET", "/sandbox/modifications", self.count_modifications),
            ("POST", "/sandbox/expire", self.expire),
            ("POST", "/sandbox/refunds", self.refund_by_hand),
            ("POST", "/sandbox/disputes", self.open_dispute),
            ("POST", "/sandbox/disputes/{dispute_id}", self.move_dispute),
            ("POST", "/sandbox/payouts", self.pay_out),
        ]
        return [Route(path, keyed(self._api_key, endpoint), methods=[method]) for method, path, endpoint in routes]

    async def capture(self, request: Request) -> Response:
        """``POST /v1/charges/{charge_id}/captures``."""
        return await self._modify(Kind.CAPTURE, request)

    async def void(self, request: Request) -> Response:
        """``POST /v1/charges/{charge_id}/void``."""
        return await self._modify(Kind.VOID, request)

    async def refund(self, request: Request) -> Response:
        """``POST /v1/charges/{charge_id}/refunds``."""
        return await self._modify(Kind.REFUND, request)

    async def _modify(self, kind: Kind, request: Request) -> Response:
        key = idempotency_key(request)
        charge_id = request.path_params["charge_id"]
        order = read_modification(kind, charge_id, await read_body(request), self._store.fingerprint_key)
        fault = self._faults.take(_OPERATIONS[kind])
        return replied(await self._modifications.create(key, order, fault))

    async def list_modifications(self, request: Request) -> Response:
        """``GET /v1/modifications?reference=…``: an empty list says that none with this reference was made."""
        reference = _reference(request)

        def on_record() -> dict[str, Any]:
            found = [modification_object(each) for each in self._store.modifications_of(reference)]
            return {"object": "list", "modifications": found, "sandbox": True}

        return await answer_query(self._faults, Operation.QUERY_MODIFICATION, on_record)

    async def list_disputes(self, request: Request) -> Response:
        """``GET /v1/disputes?reference=…``: the disputes of a charge, by the charge's reference."""
        found = [dispute_object(each) for each in self._store.disputes_of(_reference(request))]
        return json_response({"object": "list", "disputes": found, "sandbox": True})

    async def answer_dispute(self, request: Request) -> Response:
        """``POST /v1/disputes/{dispute_id}/evidence``."""
        text = read(EvidenceInput, await read_body(request)).text
        return json_response(dispute_object(self._happenings.answer_dispute(request.path_params["dispute_id"], text)))

    async def report(self, request: Request) -> Response:
        """``GET /v1/reports/settlement?from=…&to=…``: CSV, sent as it is read."""
        start, end = read_period(request.query_params)
        pieces = settlement(self._store.transactions_between(start, end))

        async def sent() -> AsyncIterator[str]:
            for piece in pieces:
                yield piece

        return StreamingResponse(
            sent(),
            media_type="text/csv",
            headers={"Content-Disposition": 'attachment; filename="sandbox-settlement.csv"'},
        )

    async def count_modifications(self, _: Request) -> Response:
        """``GET /sandbox/modifications``: every capture, void and refund there is, for tests that count effects."""
        found = [modification_object(each) for each in self._store.all_modifications()]
        return json_response({"object": "list", "count": len(found), "modifications": found, "sandbox": True})

    async def expire(self, request: Request) -> Response:
        """``POST /sandbox/expire``."""
        asked = read(ChargeReference, await read_body(request))
        return json_response(charge_object(self._happenings.expire(asked.reference), self._public_url))

    async def refund_by_hand(self, request: Request) -> Response:
        """``POST /sandbox/refunds``."""
        asked = read(AmountOfCharge, await read_body(request))
        return json_response(modification_object(self._happenings.refund(asked.reference, asked.amount_minor)))

    async def open_dispute(self, request: Request) -> Response:
        """``POST /sandbox/disputes``."""
        asked = read(DisputeInput, await read_body(request))
        opened = self._happenings.open_dispute(asked.reference, asked.amount_minor, asked.reason)
        return json_response(dispute_object(opened))

    async def move_dispute(self, request: Request) -> Response:
        """``POST /sandbox/disputes/{dispute_id}``."""
        status = read(DisputeMove, await read_body(request)).status
        return json_response(dispute_object(self._happenings.move_dispute(request.path_params["dispute_id"], status)))

    async def pay_out(self, _: Request) -> Response:
        """``POST /sandbox/payouts``."""
        made = [payout_object(payout) for payout in self._happenings.pay_out()]
        return json_response({"object": "list", "payouts": made, "sandbox": True})


def _reference(request: Request) -> str:
    reference = request.query_params.get("reference", "")
    if not reference or holds_card_number(reference):
        raise Refusal(ErrorCode.INVALID_REQUEST, ("reference",))
    return reference
