"""Faults that a test asks for: what goes wrong with the next requests, in the order asked."""

from collections import deque

from vault_zone.processors.sandbox_server.connection import Holds
from vault_zone.processors.sandbox_server.errors import ErrorCode, Refusal
from vault_zone.processors.sandbox_server.wire import FaultInput, FaultMode, Operation


class Faults:
    """The faults still to come. They live in memory: a restarted sandbox is a healthy one."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._pending: dict[Operation, deque[tuple[FaultInput, int]]] = {each: deque() for each in Operation}

    def add(self, fault: FaultInput) -> None:
        """The fault meets the next ``fault.times`` requests after those already asked for."""
        self._pending[fault.operation].append((fault, fault.times))

    def take(self, operation: Operation) -> FaultInput | None:
        """The fault that meets this request, if any; it has then met one request more."""
        queue = self._pending[operation]
        if not queue:
            return None
        fault, times = queue.popleft()
        if times > 1:
            queue.appendleft((fault, times - 1))
        return fault

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        for queue in self._pending.values():
            queue.clear()

    def pending(self) -> int:
        """How many requests are still to be met by a fault."""
        return sum(times for queue in self._pending.values() for _, times in queue)

    async def before(self, fault: FaultInput | None) -> bool:
        """Whether the request gets as far as its effect; if not, there is no reply. Raises Refusal, a fault's reply."""
        if fault is None:
            return True
        if fault.mode is FaultMode.ERROR_500:
            raise Refusal(ErrorCode.INTERNAL_ERROR)
        if fault.mode is FaultMode.UNAVAILABLE:
            raise Refusal(ErrorCode.UNAVAILABLE)
        if fault.mode is FaultMode.DELAY_BEFORE:
            return await self._holds.pause(fault.delay_seconds)
        return fault.mode is not FaultMode.DROP_BEFORE

    async def after(self, fault: FaultInput | None) -> bool:
        """Whether a request that had its effect is answered. A server that is stopping answers without delay."""
        if fault is not None and fault.mode is FaultMode.DELAY_AFTER:
            await self._holds.pause(fault.delay_seconds)
        return fault is None or fault.mode is not FaultMode.DROP_AFTER
