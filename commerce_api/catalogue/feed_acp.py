"""The ACP product feed (ACP 2026-04-17, ``schema.feed.json``): one JSON product a line, one product row a variant."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from commerce_api.catalogue.feed_fields import (
    MAXIMUM_DESCRIPTION_CHARACTERS,
    list_price_above,
    price_from_minor,
    read_categories,
    read_gtin,
    read_id,
    read_label,
    read_options,
    read_title,
    state_of,
    stock,
)
from commerce_api.catalogue.feed_lines import Line
from commerce_api.catalogue.feed_rows import Availability, ProductRow, Refusal, RejectCode, RejectedRow
from commerce_api.catalogue.feed_text import paragraphs
from commerce_api.catalogue.feed_url import safe_url
from tokenization.money import Money

_GTIN_TYPES: Final = frozenset({"gtin", "gtin8", "gtin12", "gtin13", "gtin14", "upc", "ean", "isbn", "jan"})
_Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Product:
    """What a product's variants share."""

    product_id: str
    title: str | None
    description: str
    url: str | None
    image_url: str | None
    variants: Sequence[object]


def acp_rows(lines: Iterable[Line]) -> Iterator[ProductRow | RejectedRow]:
    """The variants of each line, in file order. A bad variant rejects itself alone; a bad product, its line once."""
    for line in lines:
        if line.fault is not None:
            yield Refusal(line.fault).row(line.number)
        elif line.text.strip():
            yield from _product_rows(line)


def _product_rows(line: Line) -> Iterator[ProductRow | RejectedRow]:
    try:
        product = _product(_parsed(line.text))
    except Refusal as refusal:
        yield refusal.row(line.number)
        return
    for place, variant in enumerate(product.variants, start=1):
        try:
            yield _variant_row(product, variant, line.number)
        except Refusal as refusal:
            yield refusal.row(line.number, variant=place)


def _parsed(text: str) -> _Json:
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # not JSON, digits without end, or nesting without end
        raise Refusal(RejectCode.MALFORMED_JSON) from None
    if not isinstance(parsed, dict):
        raise Refusal(RejectCode.MALFORMED_JSON)
    return parsed


def _refuse_constant(_name: str) -> NoReturn:
    raise Refusal(RejectCode.MALFORMED_JSON)


def _product(parsed: _Json) -> _Product:
    variants = _list(parsed, "variants")
    if not variants:
        raise Refusal(RejectCode.VARIANTS_MISSING, "variants")
    title = _text(parsed, "title")
    return _Product(
        product_id=read_id(_text(parsed, "id"), "id"),
        title=read_title(title, "title") if title.strip() else None,
        description=_description(parsed),
        url=safe_url(_text(parsed, "url"), "url"),
        image_url=_image(parsed),
        variants=variants,
    )


def _variant_row(product: _Product, variant: object, line: int) -> ProductRow:
    if not isinstance(variant, dict):
        raise Refusal(RejectCode.WRONG_TYPE, "variants")
    variant_id = read_id(_text(variant, "id"), "id")
    title = read_title(_text(variant, "title"), "title")
    price = _price(variant, "price")
    if price is None:
        raise Refusal(RejectCode.PRICE_MISSING, "price")
    available, availability = _stock(_object(variant, "availability"))
    condition = _texts(variant, "condition")
    return ProductRow(
        variant_id=variant_id,
        product_id=product.product_id,
        title=title,
        product_title=product.title or title,
        description=_description(variant) or product.description,
        url=safe_url(_text(variant, "url"), "url") or product.url,
        image_url=_image(variant) or product.image_url,
        price=price,
        list_price=list_price_above(price, _price(variant, "list_price"), "list_price"),
        available=available,
        availability=availability,
        stock_quantity=None,
        options=read_options((_text(o, "name"), _text(o, "value")) for o in _objects(variant, "variant_options")),
        brand_name=read_label(_text(_object(variant, "seller"), "name"), "seller"),
        categories=read_categories(_text(category, "value") for category in _objects(variant, "categories")),
        gtin=_gtin(variant),
        condition=read_label(condition[0].lower(), "condition") if condition else None,
        line=line,
    )


def _price(variant: _Json, key: str) -> Money | None:
    price = _object(variant, key)
    if not price:
        return None
    return price_from_minor(price.get("amount"), price.get("currency"), key)


def _stock(availability: _Json) -> tuple[bool, Availability]:
    """``status`` is an open set in ACP: of an unknown one only ``available`` counts. Neither: nothing is assumed."""
    offered = availability.get("available")
    if offered is not None and not isinstance(offered, bool):
        raise Refusal(RejectCode.WRONG_TYPE, "availability")
    state = state_of(_text(availability, "status"))
    if state is None and offered is not None:
        state = Availability.IN_STOCK
    if state is None:
        raise Refusal(RejectCode.AVAILABILITY_UNKNOWN, "availability")
    return stock(state, None, offered=offered is not False)


def _description(parsed: _Json) -> str:
    """The plain description, else the HTML or Markdown one without its tags; a bare text is taken too."""
    description = parsed.get("description")
    if isinstance(description, str):
        text = description
    else:
        forms = _object(parsed, "description")
        text = next((text for form in ("plain", "html", "markdown") if (text := _text(forms, form)).strip()), "")
    return paragraphs(text, "description", MAXIMUM_DESCRIPTION_CHARACTERS)


def _image(parsed: _Json) -> str | None:
    """The address of the first image; other media are not shown."""
    addresses = (_text(media, "url") for media in _objects(parsed, "media") if _text(media, "type").lower() == "image")
    return safe_url(next(addresses, ""), "media")


def _gtin(variant: _Json) -> str | None:
    barcodes = _objects(variant, "barcodes")
    of_type = (code for code in barcodes if _text(code, "type").lower().replace("-", "") in _GTIN_TYPES)
    return next((gtin for code in of_type if (gtin := read_gtin(_text(code, "value")))), None)


def _text(parsed: _Json, key: str) -> str:
    """The text under the key; empty if it is absent or null. Raises Refusal (``wrong_type``)."""
    value = parsed.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refusal(RejectCode.WRONG_TYPE, key)
    return value


def _object(parsed: _Json, key: str) -> _Json:
    value = parsed.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(RejectCode.WRONG_TYPE, key)
    return value


def _list(parsed: _Json, key: str) -> Sequence[object]:
    value = parsed.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise Refusal(RejectCode.WRONG_TYPE, key)
    return value


def _objects(parsed: _Json, key: str) -> list[_Json]:
    values: list[_Json] = [value for value in _list(parsed, key) if isinstance(value, dict)]
    if len(values) != len(_list(parsed, key)):
        raise Refusal(RejectCode.WRONG_TYPE, key)
    return values


def _texts(parsed: _Json, key: str) -> list[str]:
    values = [value for value in _list(parsed, key) if isinstance(value, str)]
    if len(values) != len(_list(parsed, key)):
        raise Refusal(RejectCode.WRONG_TYPE, key)
    return values
