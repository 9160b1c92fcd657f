"""What an agent can ask for, whatever carries it: MCP tools and the agents' API are adapters over these calls (decision 6)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, TypeVar

from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from audit.transaction import Database, Transaction
from commerce_api import order_requests
from commerce_api.asking.answering import answer_view, chosen_line
from commerce_api.asking.finding import find, with_places_read_as_goods
from commerce_api.asking.fitting import Match, match
from commerce_api.asking.need import Need, understand
from commerce_api.asking.phrasing import Phrasing, phrased
from commerce_api.assistant_payments import pay_with_token
from commerce_api.brands import Brand, find_brand
from commerce_api.catalogue.search import VARIANTS_SHOWN, Search, search_products
from commerce_api.catalogue.store import find_variant, variants_of
from commerce_api.checkout import service
from commerce_api.checkout.confirmation import confirmation_of
from commerce_api.checkout.service import Caller, Checkout
from commerce_api.checkout.states import CHANGEABLE, FINISHED
from commerce_api.embeddings.nearest import Nearest
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.idempotency import once
from commerce_api.links import Links
from commerce_api.offering import outcomes
from commerce_api.offering.making import make_offer
from commerce_api.orders import find_order
from commerce_api.payment import Payments, last_payment, may_advance
from commerce_api.schemas import (
    AskView,
    CheckoutGiven,
    CheckoutView,
    ComparedView,
    CompareView,
    LineGiven,
    OffersView,
    OrderRequestGiven,
    OrderRequestView,
    OrderView,
    ProductView,
    SavedMethodsView,
    SavedMethodView,
    SearchView,
)
from commerce_api.vault_client import VaultRefused, VaultUnavailable
from commerce_api.views import checkout_view, compare_view, order_request_view, order_view, product_view
from offer_engine.serving import Rankers
from tokenization.clock import Clock, as_datetime, as_text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AgentDesk:
    """One brand-independent desk; every call names the brand and who asks. All raise CommerceRefusal with a closed code."""

    database: Database
    payments: Payments
    links: Links
    rankers: Rankers
    offer_key: bytes
    clock: Clock
    nearest: Nearest | None = None
    phrasing: Phrasing | None = None

    async def brand(self, brand_id: str) -> Brand:
        """The brand, or BRAND_UNKNOWN."""
        return await self.database.read(lambda connection: find_brand(connection, brand_id))

    async def search_catalog(self, brand_id: str, search: Search) -> SearchView:
        """Products whose texts hold the words, best first; by id when there are no words."""

        def work(connection: Connection) -> SearchView:
            brand = find_brand(connection, brand_id)
            found = search_products(connection, brand_id, search, is_sqlite=self.database.is_sqlite)
            more = search.offset + len(found) if len(found) == search.limit else None
            return SearchView(products=[product_view(brand, rows) for rows in found], next_offset=more)

        return await self.database.read(work)

    async def get_product(self, brand_id: str, product_id: str) -> ProductView:
        """A product by its own id or by that of one of its variants. PRODUCT_UNKNOWN."""

        def work(connection: Connection) -> ProductView:
            brand = find_brand(connection, brand_id)
            rows = variants_of(connection, brand_id, [product_id], limit=VARIANTS_SHOWN * 10)
            return product_view(brand, rows or [find_variant(connection, brand_id, product_id)])

        return await self.database.read(work)

    async def get_compared(self, brand_id: str, product_id: str, compare_with: Sequence[str]) -> ComparedView:
        """As get_product(), beside these other products. PRODUCT_UNKNOWN if one of them is not there."""
        found = await self.get_product(brand_id, product_id)
        others = [other for other in dict.fromkeys(compare_with) if other != found.id]
        comparison = await self.compare_products(brand_id, [found.id, *others]) if others else None
        return ComparedView(**dict(found), comparison=comparison)

    async def ask(self, brand_id: str, caller: Caller, text: str, variant_id: str | None = None) -> AskView:
        """What the record has for a need in plain words; with an offer, decided and recorded, where one thing is chosen.

        ``variant_id`` is what was chosen from an earlier answer. PRODUCT_UNKNOWN.
        """
        today = as_datetime(self.clock()).date()

        def work(connection: Connection) -> tuple[Brand, Need, list[Match]]:
            brand = find_brand(connection, brand_id)
            need = understand(text, brand.currency, today)
            if variant_id is not None:
                held = match([find_variant(connection, brand_id, variant_id)], need, brand.currency)
                return brand, need, [held] if held is not None else []
            is_sqlite = self.database.is_sqlite
            need = with_places_read_as_goods(connection, brand_id, need, is_sqlite=is_sqlite)
            return brand, need, find(connection, brand_id, brand.currency, need, near, is_sqlite=is_sqlite)

        near = await self._near(brand_id, text, today) if variant_id is None else []
        brand, need, matches = await self.database.read(work)
        line = chosen_line(brand, matches, need, variant_id)
        made = await self.get_offers(brand_id, caller, [line]) if line is not None else None
        view = answer_view(brand, need, matches, today, line, made.offers if made is not None else ())
        return await phrased(view, self.phrasing)

    async def _near(self, brand_id: str, text: str, today: date) -> list[str]:
        """Products nearest in meaning to what is looked for; none without the extra."""
        if self.nearest is None:
            return []
        words = understand(text, (await self.brand(brand_id)).currency, today).words
        return await self.nearest.ids(brand_id, " ".join(words)) if words else []

    async def compare_products(self, brand_id: str, product_ids: Sequence[str]) -> CompareView:
        """These products beside each other. PRODUCT_UNKNOWN if one of them is not there."""

        def work(connection: Connection) -> CompareView:
            brand = find_brand(connection, brand_id)
            found = {
                product: variants_of(connection, brand_id, [product], limit=VARIANTS_SHOWN) for product in product_ids
            }
            if not all(found.values()):
                raise CommerceRefusal(CommerceError.PRODUCT_UNKNOWN)
            return compare_view([product_view(brand, rows) for rows in found.values()])

        return await self.database.read(work)

    async def get_offers(
        self,
        brand_id: str,
        caller: Caller,
        lines: list[LineGiven],
        *,
        region: str | None = None,
        shopper: str | None = None,
        shown: bool = True,
        locale: str | None = None,
    ) -> OffersView:
        """The offer for these lines, decided, recorded and signed before it is told."""

        def work(tx: Transaction) -> OffersView:
            brand = find_brand(tx.connection, brand_id)
            said = {"region": region, "shopper": shopper, "locale": locale}
            return make_offer(tx, brand, caller, lines, self.rankers, self.offer_key, shown=shown, **said)

        return await self.database.change(work)

    async def offer_shown(self, brand_id: str, caller: Caller, offer_id: str) -> None:
        """An offer that was made but not shown was shown now. OFFER_UNKNOWN."""
        await self.database.change(
            lambda tx: outcomes.present(tx, brand_id, offer_id, caller.channel, caller.principal)
        )

    async def offer_refused(
        self, brand_id: str, caller: Caller, offer_id: str, how: Literal["dismissed", "declined"]
    ) -> None:
        """The shopper did not want the offer that they were shown. OFFER_UNKNOWN."""

        def work(tx: Transaction) -> None:
            outcomes.present(tx, brand_id, offer_id, caller.channel, caller.principal)
            outcomes.note(tx, brand_id, offer_id, how, key="refused", actor=caller.principal)

        await self.database.change(work)

    async def create_checkout(
        self, brand_id: str, caller: Caller, given: CheckoutGiven, idempotency_key: str | None
    ) -> CheckoutView:
        """A new checkout. The same key with the same content gives the same checkout."""

        def work(tx: Transaction) -> CheckoutView:
            brand = find_brand(tx.connection, brand_id)
            return self._view(tx.connection, service.create(tx, brand, caller, given, self.offer_key))

        return await self._once(brand_id, caller, "create_checkout", idempotency_key, given, work)

    async def update_checkout(
        self, brand_id: str, caller: Caller, checkout_id: str, given: CheckoutGiven, idempotency_key: str | None
    ) -> CheckoutView:
        """Changes what is given and leaves the rest. CHECKOUT_IN_PAYMENT, CHECKOUT_FINISHED."""

        def work(tx: Transaction) -> CheckoutView:
            brand = find_brand(tx.connection, brand_id)
            return self._view(tx.connection, service.change(tx, brand, caller, checkout_id, given, self.offer_key))

        scope = f"update_checkout|{checkout_id}"
        return await self._once(brand_id, caller, scope, idempotency_key, given, work)

    async def get_checkout(self, brand_id: str, caller: Caller | None, checkout_id: str) -> CheckoutView:
        """Where the checkout stands; takes note of a payment that went through meanwhile."""
        now_ms = self.clock()

        def work(connection: Connection) -> CheckoutView | None:
            current = self._load_in(connection, brand_id, caller, checkout_id, now_ms)
            return None if may_advance(current) else self._view(connection, current)

        view = await self.database.read(work)
        if view is not None:
            return view
        await self._advance_quietly(brand_id, checkout_id)
        return await self._read(brand_id, caller, checkout_id)

    async def complete_checkout(
        self,
        brand_id: str,
        caller: Caller,
        checkout_id: str,
        *,
        confirmation: str | None = None,
        payment_token: str | None = None,
    ) -> CheckoutView:
        """Hands the checkout to the shopper to pay, or says how the payment went. Asking again changes nothing.

        With a ``payment_token`` it is paid at once (assistant_payments.py). CHECKOUT_NOT_READY, OUT_OF_STOCK, CHECKOUT_FINISHED
        for one that was canceled or expired, CONFIRMATION_STALE for a ``confirmation`` of something else.
        """
        current = await self._load(brand_id, caller, checkout_id)
        if current.state in CHANGEABLE:

            def work(tx: Transaction) -> None:
                fresh = self._load_in(tx.connection, brand_id, caller, checkout_id, tx.now_ms)
                if fresh.state not in CHANGEABLE:
                    return
                if payment_token is not None:
                    pay_with_token(tx, fresh, caller, payment_token, confirmation, self.offer_key)
                    return
                if confirmation not in (None, confirmation_of(fresh)):
                    raise CommerceRefusal(CommerceError.CONFIRMATION_STALE)
                service.hand_off(tx, fresh, caller, confirmed=confirmation is not None)

            await self.database.change(work)
        elif current.state in FINISHED and current.order_id is None:
            raise CommerceRefusal(CommerceError.CHECKOUT_FINISHED)
        await self._advance_quietly(brand_id, checkout_id)
        return await self._read(brand_id, caller, checkout_id)

    async def cancel_checkout(self, brand_id: str, caller: Caller, checkout_id: str) -> CheckoutView:
        """Ends a checkout that is not being paid."""

        def work(tx: Transaction) -> CheckoutView:
            brand = find_brand(tx.connection, brand_id)
            current = service.load(tx.connection, brand, checkout_id, caller, self.offer_key, tx.now_ms, as_stored=True)
            service.cancel(tx, current, caller)
            return self._view(tx.connection, self._load_in(tx.connection, brand_id, caller, checkout_id, tx.now_ms))

        return await self.database.change(work)

    async def get_order(self, brand_id: str, caller: Caller | None, order_id: str) -> OrderView:
        """A paid order. ORDER_UNKNOWN."""

        def work(connection: Connection) -> OrderView:
            brand = find_brand(connection, brand_id)
            found = find_order(connection, brand, order_id, caller)
            return order_view(brand, found, order_requests.requests_of(connection, order_id))

        return await self.database.read(work)

    async def request_about_order(
        self, brand_id: str, caller: Caller, order_id: str, given: OrderRequestGiven
    ) -> OrderRequestView:
        """The shopper's open request of this kind, or a new one. ORDER_UNKNOWN, ORDER_LINE_UNKNOWN, ORDER_REFUNDED."""

        def work(tx: Transaction) -> OrderRequestView:
            brand = find_brand(tx.connection, brand_id)
            return order_request_view(brand, order_requests.ask(tx, brand, caller, order_id, given))

        try:
            return await self.database.change(work)
        except IntegrityError:  # somebody else asked for the same in this moment: theirs is the one
            return await self.database.change(work)

    async def saved_methods(self, brand_id: str, caller: Caller, shopper: str) -> SavedMethodsView:
        """The shopper's saved cards, to show. SHOPPER_UNKNOWN but for them and the brand's own agent; PAYMENT_UNAVAILABLE."""
        if not shopper or caller.principal not in (f"agent:{brand_id}", service.shopper_principal(shopper)):
            raise CommerceRefusal(CommerceError.SHOPPER_UNKNOWN)
        try:
            cards = await self.payments.vault.saved_cards(brand_id, shopper)
        except VaultUnavailable:
            raise CommerceRefusal(CommerceError.PAYMENT_UNAVAILABLE) from None
        except VaultRefused:
            raise CommerceRefusal(CommerceError.SHOPPER_UNKNOWN) from None
        newest_first = sorted(cards, key=lambda card: -card.saved_ms)
        return SavedMethodsView(
            methods=[
                SavedMethodView(brand=saved.card.brand, last4=saved.card.last4, saved_at=as_text(saved.saved_ms))
                for saved in newest_first
            ]
        )

    async def _once(
        self,
        brand_id: str,
        caller: Caller,
        scope: str,
        key: str | None,
        given: CheckoutGiven,
        work: Callable[[Transaction], CheckoutView],
    ) -> CheckoutView:
        def unit(tx: Transaction) -> dict[str, Any]:
            return once(
                tx,
                scope=f"{brand_id}|{caller.principal}|{scope}"[:200],
                key=key,
                request=given.model_dump(mode="json", include=given.model_fields_set),
                work=lambda: work(tx).model_dump(mode="json"),
            )

        return CheckoutView.model_validate(await self.database.change(unit))

    async def _advance_quietly(self, brand_id: str, checkout_id: str) -> None:
        """An unreachable zone must not keep anyone from reading where the checkout stands."""
        try:
            await self.payments.advance(brand_id, checkout_id)
        except CommerceRefusal as refusal:
            if refusal.kind not in (CommerceError.PAYMENT_UNAVAILABLE, CommerceError.BUSY):
                raise

    async def _load(self, brand_id: str, caller: Caller | None, checkout_id: str) -> Checkout:
        now_ms = self.clock()
        return await self.database.read(
            lambda connection: self._load_in(connection, brand_id, caller, checkout_id, now_ms)
        )

    async def _read(self, brand_id: str, caller: Caller | None, checkout_id: str) -> CheckoutView:
        now_ms = self.clock()
        return await self.database.read(
            lambda connection: self._view(connection, self._load_in(connection, brand_id, caller, checkout_id, now_ms))
        )

    def _load_in(
        self, connection: Connection, brand_id: str, caller: Caller | None, checkout_id: str, now_ms: int
    ) -> Checkout:
        brand = find_brand(connection, brand_id)
        return service.load(connection, brand, checkout_id, caller, self.offer_key, now_ms)

    def _view(self, connection: Connection, current: Checkout) -> CheckoutView:
        paid = last_payment(connection, current.id)
        declined = (
            (paid.decline_code or paid.state) if paid is not None and paid.state in ("declined", "failed") else None
        )
        return checkout_view(current, self.links, declined)
