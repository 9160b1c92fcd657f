"""The embedded authorization server at work: what its endpoints ask for, each as one change of the database."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.engine import Row

from audit.transaction import Transaction
from commerce_api.authorization import browser_session, clients, document_fetches, passkeys, requests, sign_in
from commerce_api.authorization.client_documents import ClientDocuments
from commerce_api.authorization.clients import Client
from commerce_api.authorization.issuers import Authorization, embedded_issuer, load_authorization
from commerce_api.authorization.keys import SigningKeys
from commerce_api.authorization.mail import Courier, delivery_of
from commerce_api.authorization.protocol import Answered, BrandAuthorizationServer, Pairs, Realm
from commerce_api.authorization.scopes import MEANINGS, PAYMENTS_EXECUTE, known
from commerce_api.brands import Brand, find_brand
from commerce_api.errors import CommerceError, CommerceRefusal
from commerce_api.runtime import Commerce
from commerce_api.settings import PRODUCTION

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as its pages show it. ``client`` holds what is known of who asks, ``passkey`` what passkeys.offered() gives."""

    brand: Brand
    row: "Row[Any]"
    client: Client
    has_code: bool
    passkey: dict[str, str] | None

    @property
    def is_for_a_page(self) -> bool:
        """Whether a page of this site asks, and no client."""
        return bool(self.row.client == requests.NO_CLIENT)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A shopper who signed in: the secret of the browser's session, and the page to go to where one asked for it.

    ``may_add``: whether to ask first for a passkey for the next time; then the request goes on.
    """

    session: str
    page: str | None
    may_add: bool = False


class AuthorizationDesk:
    """Every brand's embedded server. All raise CommerceRefusal(BRAND_UNKNOWN) for a brand that has none."""

    def __init__(
        self, commerce: Commerce, *, documents: ClientDocuments | None = None, courier: Courier | None = None
    ) -> None:
        settings = commerce.settings
        self._commerce = commerce
        self.authorization: Authorization = load_authorization(
            settings.data, production=settings.environment == PRODUCTION
        )
        self.keys = SigningKeys(settings.oauth_keys)
        self.passkey_site = passkeys.site_of(settings.public_url)
        self._documents = documents or ClientDocuments(
            commerce.clock, loopback=self.authorization.loopback_client_documents, allowance=self._may_fetch
        )
        self.courier = courier or Courier(delivery_of(settings))

    async def realm(self, brand_id: str) -> tuple[Brand, Realm]:
        """The brand and its server."""
        commerce, chosen = self._commerce, self.authorization.of(brand_id)
        offered = chosen.embedded and chosen.external is None and commerce.settings.can_mail and self.keys.is_there
        if not offered or commerce.links.mcp(brand_id) is None:
            raise CommerceRefusal(CommerceError.BRAND_UNKNOWN)
        brand = await commerce.database.read(lambda connection: find_brand(connection, brand_id))
        return brand, Realm(
            brand.id, embedded_issuer(commerce.links, brand.id), commerce.links.endpoints(brand.id), self.keys
        )

    async def _may_fetch(self, network: str) -> bool:
        return await self._commerce.database.maintain(lambda tx: document_fetches.may_begin(tx, network))

    async def metadata(self, brand_id: str) -> dict[str, Any]:
        """What clients read first (RFC 8414)."""
        _, realm = await self.realm(brand_id)
        return {
            "issuer": realm.issuer,
            "authorization_endpoint": f"{realm.issuer}/authorize",
            "token_endpoint": f"{realm.issuer}/token",
            "registration_endpoint": f"{realm.issuer}/register",
            "revocation_endpoint": f"{realm.issuer}/revoke",
            "jwks_uri": f"{realm.issuer}/jwks",
            "scopes_supported": list(MEANINGS),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["none"],
            "authorization_response_iss_parameter_supported": True,
            "client_id_metadata_document_supported": True,
        }

    async def begin(self, brand_id: str, pairs: Pairs, host: str | None) -> tuple[str, str]:
        """A fit request's id and its cookie. Raises OAuthRefused, RedirectRefused."""
        brand, realm = await self.realm(brand_id)
        client_id = dict(reversed(pairs)).get("client_id", "")
        network = self._network(host)
        fetched = await self._documents.client(client_id, network) if "://" in client_id else None

        def work(tx: Transaction) -> tuple[str, str]:
            server = BrandAuthorizationServer(tx, realm, fetched)
            grant = server.begin(pairs)
            client = grant.request.client
            return requests.open_request(
                tx,
                brand=brand.id,
                network=network,
                client=client,
                grant=grant,
                resource=server.resource_in(grant.request.payload.data),
            )

        return await self._commerce.database.maintain(work)  # nothing was decided yet; the decision is what is recorded

    async def begin_for_page(self, brand_id: str, path: str, host: str | None) -> tuple[str, str]:
        """As begin(), for a page of this site. Raises OAuthRefused."""
        brand, _ = await self.realm(brand_id)
        network = self._network(host)

        def work(tx: Transaction) -> tuple[str, str]:
            return requests.open_page_request(tx, brand=brand.id, network=network, path=path)

        return await self._commerce.database.maintain(work)  # as begin()

    async def look(self, brand_id: str, identifier: str, cookie: str) -> Asked | None:
        """The request as it stands, for the browser that began it; None for any other."""
        brand, _ = await self.realm(brand_id)
        site = self.passkey_site

        def work(tx: Transaction) -> Asked | None:
            row = requests.find_request(tx, brand.id, identifier, cookie)
            if row is None:
                return None
            known = clients.registered(tx, brand.id, row.client)
            client = known or Client(row.client, row.client_name, (row.redirect_uri,))
            passkey = passkeys.offered(tx.connection, site, row) if site is not None else None
            return Asked(brand, row, client, sign_in.has_code(tx, row.id), passkey)

        return await self._commerce.database.maintain(work)

    async def send_code(self, brand_id: str, identifier: str, cookie: str, text: str, host: str | None) -> bool:
        """Sends a code, or none past a mailbox's limit, and says the same. False where there is no such request or address.

        Raises OAuthRefused(TEMPORARILY_UNAVAILABLE).
        """
        brand, _ = await self.realm(brand_id)
        mailbox = sign_in.mailbox_in(text)
        network, pepper = self._network(host), self.keys.pepper()
        if mailbox is None:
            return False

        def work(tx: Transaction) -> Any:
            row = requests.find_request(tx, brand.id, identifier, cookie)
            return (False, None) if row is None else (True, sign_in.send_code(tx, pepper, brand, row, mailbox, network))

        found, letter = await self._commerce.database.change(work)
        if letter is not None:
            self.courier.take(letter)
        return bool(found)

    async def try_code(
        self, brand_id: str, identifier: str, cookie: str, typed: str, passkeys_there: str = ""
    ) -> SignedIn | None:
        """The browser's session, if the code was right. ``passkeys_there``: as passkeys.wants_one() has it."""
        brand, _ = await self.realm(brand_id)
        pepper, site = self.keys.pepper(), self.passkey_site

        def work(tx: Transaction) -> SignedIn | None:
            row = requests.find_request(tx, brand.id, identifier, cookie)
            shopper = sign_in.try_code(tx, pepper, brand, row, typed) if row is not None else None
            if row is None or shopper is None:
                return None
            if site is not None and passkeys.wants_one(tx.connection, row, shopper, passkeys_there):
                return SignedIn(browser_session.begin(tx, brand.id, shopper), None, may_add=True)
            return _signed_in(tx, row, shopper)

        return await self._commerce.database.change(work)

    async def try_passkey(self, brand_id: str, identifier: str, cookie: str, fields: dict[str, str]) -> SignedIn | None:
        """The browser's session, if the passkey is right."""
        brand, _ = await self.realm(brand_id)
        site, shown = self.passkey_site, passkeys.Shown.read(fields)
        if site is None or shown is None:
            return None

        def work(tx: Transaction) -> SignedIn | None:
            row = requests.find_request(tx, brand.id, identifier, cookie)
            shopper = passkeys.sign_in(tx, site, row, shown) if row is not None else None
            return None if row is None or shopper is None else _signed_in(tx, row, shopper)

        return await self._commerce.database.change(work)

    async def add_passkey(
        self, brand_id: str, identifier: str, cookie: str, session: str, fields: dict[str, str]
    ) -> str | None:
        """Adds a passkey for whom the browser's session is signed in as: where the shopper goes on. None if none was added."""
        brand, _ = await self.realm(brand_id)
        site, made = self.passkey_site, passkeys.Made.read(fields)
        if site is None or made is None:
            return None

        def work(tx: Transaction) -> str | None:
            row = requests.find_request(tx, brand.id, identifier, cookie)
            if row is None:
                return None
            signed_in = browser_session.shopper_of(tx.connection, brand.id, session, tx.now_ms)
            if not passkeys.add(tx, site, row, signed_in, made):
                return None
            if row.client != requests.NO_CLIENT:
                return requests.path_of(row)
            requests.close_request(tx, row, allowed=True)
            return str(row.redirect_uri).replace("?passkey", "?added")

        return await self._commerce.database.change(work)

    async def decide(
        self, brand_id: str, identifier: str, cookie: str, *, allow: bool, limit_minor: int | None = None
    ) -> str | None:
        """Where the browser goes with the decision; None where there is no such request, or nobody signed in to allow it.

        ``limit_minor``: what the client may pay in all; anything but one of the brand's choices counts as nothing.
        """
        brand, realm = await self.realm(brand_id)
        offered = brand.policy.assistant_payments
        limit_minor = limit_minor if offered is not None and limit_minor in offered.limits_minor else None

        def work(tx: Transaction) -> str | None:
            row = requests.find_request(tx, brand.id, identifier, cookie)
            if row is None or row.client == requests.NO_CLIENT or (allow and row.shopper is None):
                return None
            client = Client(row.client, row.client_name, (row.redirect_uri,))
            asks_to_pay = PAYMENTS_EXECUTE in known(row.scope)
            server = BrandAuthorizationServer(tx, realm, client, limit_minor if asks_to_pay else None)
            grant = server.begin(requests.parameters_of(row))
            requests.close_request(tx, row, allowed=allow)
            return server.decide(grant, row.shopper if allow else None)

        return await self._commerce.database.change(work)

    async def token(self, brand_id: str, pairs: Pairs) -> Answered:
        """The token endpoint."""
        return await self._answered(brand_id, lambda server: server.token(pairs))

    async def revocation(self, brand_id: str, pairs: Pairs) -> Answered:
        """The revocation endpoint."""
        return await self._answered(brand_id, lambda server: server.revocation(pairs))

    async def register(self, brand_id: str, document: Any, host: str | None) -> dict[str, Any]:
        """The registration endpoint. Raises OAuthRefused."""
        brand, _ = await self.realm(brand_id)
        network = self._network(host)
        # A new client is recorded (clients.py); that a known one came again is no change of state.
        return await self._commerce.database.maintain(lambda tx: clients.register(tx, brand.id, document, network))

    async def _answered(self, brand_id: str, act: Callable[[BrandAuthorizationServer], T]) -> T:
        _, realm = await self.realm(brand_id)
        # Whatever changes a grant records it (grants.py); what a client's last use is noted by, is no change of state.
        return await self._commerce.database.maintain(lambda tx: act(BrandAuthorizationServer(tx, realm)))

    def _network(self, host: str | None) -> str:
        return sign_in.network_digest(self.keys.pepper(), host)


def _signed_in(tx: Transaction, row: "Row[Any]", shopper: str) -> SignedIn:
    """Begins the browser's session; ends the request where only a page asked for it."""
    page = row.redirect_uri if row.client == requests.NO_CLIENT else None
    if page is not None:
        requests.close_request(tx, row, allowed=True)
    return SignedIn(browser_session.begin(tx, row.brand, shopper), page)
