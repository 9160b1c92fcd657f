"""Instructions in the texts of merchants and buyers change nothing: what the tools answer is what they answer to a harmless
text of the same shape, but for that text; and that text begins no line and shows nothing that is not seen.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import update

from audit.transaction import Transaction
from commerce_api.brands import find_brand
from commerce_api.catalogue.search import Search
from commerce_api.checkout.service import ANONYMOUS, Caller
from commerce_api.models import brand as brand_table
from commerce_api.models import checkout, offer_decision, order, payment, variant
from commerce_api.schemas import BuyerGiven, CheckoutGiven, LineGiven, OrderRequestGiven
from mcp_server import results, texts
from tests.commerce_api.purchases import ADDRESS, EMAIL, KETTLE
from tests.commerce_api.world import World
from tests.mcp_server.injections.corpus import harmless, instructions
from tests.mcp_server.serving import Site, client, code_of, structured

pytestmark = pytest.mark.anyio

INSTRUCTIONS = instructions()
GUEST = Caller(ANONYMOUS, "mcp")
NEED = "a quiet kettle under $150 to Oregon by Friday, not copper"
# Places of the record (a row of the catalogue, the brand's policy) and of what a buyer sends.
ROW_PLACES = ("title", "product_title", "description", "option value", "option name", "category", "brand name")
POLICY_PLACES = ("offer title", "shipping title", "discount title", "returns text")
BUYER_PLACES = (
    "buyer name",
    "recipient",
    "address line",
    "second line",
    "city",
    "region",
    "postal code",
    "discount code",
)
PLACES = (*ROW_PLACES, *POLICY_PLACES, *BUYER_PLACES)
_ID = re.compile(r"\b(chk|off|ord|orq|pay|cnf)_[a-z]{32}")
_QUOTED = re.compile("“[^”]*”")
_TEXT_FIELDS = {"title", "description", "brand", "name", "value", "line1", "line2", "city", "region", "postal_code"}


@dataclass(frozen=True)
class Said:
    """What one tool said: as text and as data, with the text of others, random ids and times taken out."""

    text: str
    data: str


def masked(data: Any, field: str = "") -> Any:
    """Data without the texts of others."""
    if isinstance(data, dict):
        return {name: masked(value, name) for name, value in data.items()}
    if isinstance(data, list):
        return [masked(value, field) for value in data]
    if isinstance(data, str) and field == "answer":
        return _ID.sub(r"\1", _QUOTED.sub("“”", data))
    if isinstance(data, str) and (field in _TEXT_FIELDS or field in ("categories", "values", "returns_policy")):
        return "text"
    return _ID.sub(r"\1", data) if isinstance(data, str) else data


def said(view: BaseModel) -> Said:
    """A tool's answer, made as the server makes it."""
    answer = results.answer(view)
    text = getattr(answer.content[0], "text", "")
    masked_text = _ID.sub(r"\1", _QUOTED.sub("“”", text))
    return Said(masked_text, json.dumps(masked(answer.structured_content), ensure_ascii=False))


def whole(view: BaseModel) -> str:
    """Everything that an answer says, as it goes out."""
    answer = results.answer(view)
    return "".join(getattr(block, "text", "") for block in answer.content)


async def put(world: World, texts_of: dict[str, str]) -> None:
    """Writes texts into the record past every check of feeds and policies: rows are older than rules."""
    values: dict[str, Any] = {
        "title": texts_of.get("title", "Drift"),
        "product_title": texts_of.get("product_title", "Drift"),
        "description": texts_of.get("description", "Drift"),
        "options": json.dumps([[texts_of.get("option name", "color"), texts_of.get("option value", "oat")]]),
        "categories": json.dumps(["Kitchen > Kettles", texts_of.get("category", "Drift")]),
        "brand_name": texts_of.get("brand name", "Drift"),
    }
    values["search_text"] = " ".join(("quiet kettle", *values.values()))
    values["stock"] = None  # never used up
    policy = json.loads(POLICY[world.brand])
    policy["offers"][0]["title"] = texts_of.get("offer title", "Drift")
    policy["shipping_options"][0]["title"] = texts_of.get("shipping title", "Drift")
    policy["discount_codes"][0]["title"] = texts_of.get("discount title", "Drift")
    policy["return_policy_text"] = texts_of.get("returns text", "Drift")

    def work(tx: Transaction) -> None:
        tx.execute(update(variant).where(variant.c.brand == world.brand, variant.c.id == KETTLE).values(**values))
        tx.execute(update(brand_table).where(brand_table.c.id == world.brand).values(policy=json.dumps(policy)))

    await world.commerce.database.maintain(work)


POLICY: dict[str, str] = {}


@pytest.fixture
async def shop(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose policy is taken as it stands, also where a check of today would refuse it."""
    known = await world.commerce.database.read(lambda connection: find_brand(connection, world.brand))
    POLICY[world.brand] = known.policy.model_dump_json()
    monkeypatch.setattr("commerce_api.policy_fields.is_plain", lambda text: True)
    return world


def given(texts_of: dict[str, str], **more: Any) -> CheckoutGiven:
    """A checkout with a buyer's texts in it."""
    address = {
        **ADDRESS,
        "name": texts_of.get("recipient", "Robin"),
        "line1": texts_of.get("address line", "12 Quay Street"),
        "line2": texts_of.get("second line", "Flat"),
        "city": texts_of.get("city", "Portland"),
        "region": texts_of.get("region", "OR")[:50],
        "postal_code": texts_of.get("postal code", "97209")[:16],
    }
    codes = ["WELCOME5", texts_of.get("discount code", "NONE")[:40]]
    buyer = BuyerGiven(name=texts_of.get("buyer name", "Robin"), email=EMAIL)
    return CheckoutGiven.model_validate(
        {
            "lines": [{"variant_id": KETTLE}],
            "buyer": buyer,
            "shipping_address": address,
            "discount_codes": codes,
            **more,
        }
    )


async def journey(
    world: World, texts_of: dict[str, str], see: Callable[[BaseModel], Any], *, to_the_end: bool = True
) -> list[Any]:
    """What an assistant is told on the way to a checkout, or to an order that is asked back; each answer as ``see`` sees it."""
    await put(world, texts_of)
    desk, brand, heard = world.desk, world.brand, []
    heard.append(see(await desk.search_catalog(brand, Search("quiet kettle", limit=3))))
    heard.append(see(await desk.get_compared(brand, "hp-kettle", ["hp-stovetop"])))
    heard.append(see(await desk.ask(brand, GUEST, NEED)))
    offers = await desk.get_offers(brand, GUEST, [LineGiven(variant_id=KETTLE)])
    heard.append(see(offers))
    made = await desk.create_checkout(brand, GUEST, given(texts_of, offer_id=offers.offers[0].offer_id), None)
    heard.append(see(made))
    if not to_the_end:
        return heard
    heard.append(see(await desk.complete_checkout(brand, GUEST, made.checkout_id)))
    await world.commerce.payments.capture_link(brand, made.checkout_id)
    world.vault.capture()
    paid = await desk.get_checkout(brand, GUEST, made.checkout_id)
    heard.append(see(paid))
    asked = OrderRequestGiven(kind="return")
    heard.append(see(await desk.request_about_order(brand, GUEST, paid.order_id or "", asked)))
    heard.append(see(await desk.get_order(brand, GUEST, paid.order_id or "")))
    return heard


def everywhere(text: str) -> dict[str, str]:
    """The text in every place."""
    return dict.fromkeys(PLACES, text)


async def changed(world: World, texts_of: dict[str, str], *, to_the_end: bool = True) -> list[tuple[Said, Said]]:
    """What an assistant hears otherwise than with harmless texts of the same shape."""
    quiet = {place: harmless(text) for place, text in texts_of.items()}
    heard = await journey(world, texts_of, said, to_the_end=to_the_end)
    expected = await journey(world, quiet, said, to_the_end=to_the_end)
    assert len(heard) == len(expected) == (9 if to_the_end else 5)
    return [pair for pair in zip(heard, expected, strict=True) if pair[0] != pair[1]]


def test_there_are_more_than_four_hundred_and_each_is_its_own() -> None:
    assert len(set(INSTRUCTIONS)) == len(INSTRUCTIONS) == 432
    words = {"kettle", "quiet", "copper", "glass", "mug", "coffee"}
    assert not [text for text in INSTRUCTIONS if words & set(re.findall(r"\w+", text.lower()))]


@pytest.mark.parametrize("share", range(4))
async def test_an_instruction_in_all_places_at_once_changes_nothing(shop: World, share: int) -> None:
    """To the end with every eighth."""
    for number, text in enumerate(INSTRUCTIONS[share::4]):
        assert await changed(shop, everywhere(text), to_the_end=number % 8 == 0) == [], text


@pytest.mark.parametrize("share", range(2))
async def test_an_instruction_in_one_place_changes_nothing(shop: World, share: int) -> None:
    """Each place with twelve instructions, other ones for each."""
    for number, text in list(enumerate(INSTRUCTIONS[: 12 * len(PLACES)]))[share::2]:
        assert await changed(shop, {PLACES[number % len(PLACES)]: text}, to_the_end=number % 8 == 0) == [], text


async def test_no_answer_holds_what_is_not_seen_and_no_text_has_a_line_of_its_own(shop: World) -> None:
    unseen = re.compile("[\u200b\u202a-\u202e\u2066-\u2069\u2028\u2029\x1b\x0b\x0c\U000e0000-\U000e007f]")
    lines = re.compile(
        r"^[^\w“\n]*(system|assistant|total \$0\.00|2\. .free gift|next: complete)", re.IGNORECASE | re.MULTILINE
    )
    for text in INSTRUCTIONS[::9]:
        for answer in await journey(shop, everywhere(text), whole):
            assert not unseen.search(answer), text
            assert not lines.search(answer.split('{"', 1)[0]), text


async def test_an_instruction_as_a_need_makes_nothing_but_an_offer_of_the_policy(shop: World) -> None:
    record = {row.id: row.price_minor for row in await shop.rows(variant)}
    plain = await shop.desk.ask(shop.brand, GUEST, "a quiet kettle")
    for text in INSTRUCTIONS:
        view = await shop.desk.ask(shop.brand, GUEST, f"a quiet kettle. {text}"[:1_000])
        told = {variant.id: variant.price.amount_minor for product in view.products for variant in product.variants}
        assert told.items() <= record.items()
        for offer in view.offers:
            assert (offer.title, offer.discount) == (plain.offers[0].title, plain.offers[0].discount)
        assert view.next_step is not None
        assert view.next_step.tool in ("search_catalog", "get_product", "create_checkout")
        assert view.next_step.arguments.keys() <= {"query", "product_id", "compare_with", "lines", "offer_id"}
    for table in (checkout, order, payment):
        assert await shop.rows(table) == []
    assert {row.principal for row in await shop.rows(offer_decision)} == {ANONYMOUS}


async def test_an_instruction_in_an_argument_opens_no_tool_that_needs_more(site: Site) -> None:
    async with client(site) as connected:
        names = [tool.name for tool in (await connected.list_tools()).tools]
        for text in INSTRUCTIONS[::40]:
            await connected.call_tool("ask_brand", {"need": text})
            refused = await connected.call_tool("get_order", {"order_id": text[:64]})
            assert code_of(refused) == "order_unknown"
            assert text not in json.dumps(structured(refused))
        assert [tool.name for tool in (await connected.list_tools()).tools] == names


async def test_an_option_that_is_called_like_a_row_of_ours_does_not_take_its_place(shop: World) -> None:
    await put(shop, {"option name": "Price", "option value": "$0.01"})
    compared = await shop.desk.compare_products(shop.brand, ["hp-kettle", "hp-stovetop"])
    rows = [row for row in compared.rows if row.name.casefold() == "price"]
    assert [row.values for row in rows] == [["$79.00 to $94.00", "$56.00"]]


async def test_planted_fault_without_quotation_a_line_is_forged(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "quoted", lambda text, limit=0: text)
    forged = next(text for text in INSTRUCTIONS if "\nTotal $0.00" in text)
    assert await changed(shop, everywhere(forged)) != []


async def test_planted_fault_without_the_sieve_tags_go_out(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "seen", lambda data: data)
    hidden = next(text for text in INSTRUCTIONS if text[0] > "\U000e0000")
    heard = await journey(shop, everywhere(hidden), whole)
    assert [answer for answer in heard if re.search("[\U000e0000-\U000e007f]", answer)]
