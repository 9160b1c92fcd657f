"""The answer: what was understood, products with reasons, delivery, questions, the next step, and a text by templates.

What holds:
 1. Every figure, date and title in the text is a field of the same answer, and that field is of the record (I6).
 2. The text of a record chooses nothing: questions and the next step follow from ids, prices, stock and counts alone.
 3. A title is quoted, on one line, and bounded, so that it cannot pass for a sentence of ours.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from commerce_api.asking.delivery import delivery_views
from commerce_api.asking.fitting import Match
from commerce_api.asking.need import Need
from commerce_api.asking.places import COUNTRY_NAMES
from commerce_api.brands import Brand
from commerce_api.schemas import (
    AskedProductView,
    AskView,
    DeliveryView,
    LineGiven,
    NextStepView,
    OfferView,
    QuestionView,
    UnderstoodView,
)
from commerce_api.shown import quoted
from commerce_api.views import money_view, product_view

_CHOICES: Final = 12


def chosen_line(brand: Brand, matches: Sequence[Match], need: Need, variant_id: str | None) -> LineGiven | None:
    """What an offer is asked for: the variant that was named, or that of the only product that fits; none for a country that
    is not served."""
    country = need.destination.country
    if country is not None and country not in brand.policy.ships_to:
        return None
    if variant_id is not None:
        return LineGiven(variant_id=variant_id, quantity=need.quantity)
    if len(matches) == 1 and matches[0].fits:
        return LineGiven(variant_id=matches[0].rows[0].id, quantity=need.quantity)
    return None


def answer_view(
    brand: Brand,
    need: Need,
    matches: Sequence[Match],
    today: date,
    line: LineGiven | None,
    offers: Sequence[OfferView] = (),
) -> AskView:
    """The answer to a need."""
    products = [_product(brand, held) for held in matches]
    delivery = _delivery(brand, need, matches, today)
    questions = _questions(brand, need, matches, products, line)
    view = AskView(
        answer="",
        understood=_understood(need, brand.currency),
        products=products,
        delivery=delivery,
        offers=list(offers),
        questions=questions,
        next_step=_next_step(need, products, line, offers),
    )
    view.answer = answer_text(view)
    return view


def answer_text(view: AskView) -> str:
    """The text, of this view's own fields alone (1)."""
    return " ".join(
        [
            *_products_text(view),
            *_delivery_text(view.delivery, view.understood.deliver_by),
            *(f"Offer: {quoted(offer.title)}{_off(offer)}. {offer.reason}" for offer in view.offers),
            *(question.text for question in view.questions),
        ]
    )


def _product(brand: Brand, held: Match) -> AskedProductView:
    return AskedProductView(**dict(product_view(brand, held.rows)), fits=held.fits, why=list(held.why))


def _understood(need: Need, currency: str) -> UnderstoodView:
    maximum_minor = need.maximum_minor
    return UnderstoodView(
        looking_for=list(need.words),
        not_wanted=list(need.not_wanted),
        minimum_price=money_view(need.minimum_minor, currency) if need.minimum_minor else None,
        maximum_price=money_view(maximum_minor, currency) if maximum_minor is not None else None,
        other_currency=need.budget.other_currency,
        quantity=need.quantity,
        deliver_by=str(need.deadline.day) if need.deadline.day else None,
        country=need.destination.country,
        region=need.destination.region,
        place=need.destination.unplaced,
    )


def _delivery(brand: Brand, need: Need, matches: Sequence[Match], today: date) -> list[DeliveryView]:
    """Where somebody asked when or where; not for a country that is not served."""
    place, deadline = need.destination, need.deadline
    asked = place.country or place.unplaced or deadline.day or deadline.unclear
    if not asked or (place.country is not None and place.country not in brand.policy.ships_to):
        return []
    subtotal_minor = matches[0].rows[0].price_minor * need.quantity if matches else None
    return delivery_views(brand.policy.shipping_options, brand.currency, today, deadline.day, subtotal_minor)


def _questions(
    brand: Brand,
    need: Need,
    matches: Sequence[Match],
    products: Sequence[AskedProductView],
    line: LineGiven | None,
) -> list[QuestionView]:
    served = [f"{COUNTRY_NAMES.get(code, code)} ({code})" for code in brand.policy.ships_to]
    few_served = served if len(served) <= _CHOICES else []
    found: list[QuestionView] = []
    if not need.words:
        found.append(QuestionView(kind="product", text="What kind of product is it for?"))
    elif not products:
        found.append(QuestionView(kind="product", text="Nothing like it was found: which other words describe it?"))
    if need.budget.other_currency is not None:
        text = f"Prices here are in {brand.currency}, and nothing is converted: what is the budget in {brand.currency}?"
        found.append(QuestionView(kind="currency", text=text))
    if matches and not any(held.in_bounds for held in matches):
        found.append(
            QuestionView(kind="budget", text="Nothing that was found is within the budget: may it cost more or less?")
        )
    if need.quantity > 1 and matches and not any(held.can_be_bought for held in matches):
        found.append(QuestionView(kind="quantity", text="There are not as many of it: may it be fewer?"))
    place = need.destination
    if place.country is not None and place.country not in brand.policy.ships_to:
        name = COUNTRY_NAMES.get(place.country, place.country)
        text = f"The store does not ship to {name}: may it go to another country?"
        found.append(QuestionView(kind="country", text=text, choices=few_served))
    elif place.unplaced is not None:
        text = f"In which country is {quoted(place.unplaced)}?"
        found.append(QuestionView(kind="destination", text=text, choices=few_served))
    elif place.country is None and (need.deadline.day or need.deadline.unclear):
        found.append(QuestionView(kind="destination", text="To which country should it go?", choices=few_served))
    if need.deadline.unclear:
        found.append(QuestionView(kind="deadline", text="By which date should it arrive (year-month-day)?"))
    fitting = [product for product in products if product.fits]
    if line is None and len(fitting) > 1:
        choices = [product.id for product in fitting]
        found.append(QuestionView(kind="choice", text="Which of these should it be?", choices=choices))
    elif line is not None and len(fitting) == 1 and len(fitting[0].variants) > 1:
        choices = [variant.id for variant in fitting[0].variants]
        found.append(QuestionView(kind="choice", text="Which variant should it be?", choices=choices))
    return found


def _next_step(
    need: Need, products: Sequence[AskedProductView], line: LineGiven | None, offers: Sequence[OfferView]
) -> NextStepView | None:
    if line is not None:
        arguments: dict[str, Any] = {"lines": [line.model_dump()]}
        if offers:
            arguments["offer_id"] = offers[0].offer_id
        return NextStepView(
            tool="create_checkout", arguments=arguments, why="Once the shopper wants it: start a checkout."
        )
    ids = [product.id for product in products]
    if len(ids) > 1:
        arguments = {"product_id": ids[0], "compare_with": ids[1:5]}
        return NextStepView(tool="get_product", arguments=arguments, why="Look at them beside each other.")
    if ids:
        return NextStepView(tool="get_product", arguments={"product_id": ids[0]}, why="Look at all of its variants.")
    if need.words:  # all of them found nothing: the last is most often the thing itself
        return NextStepView(tool="search_catalog", arguments={"query": need.words[-1]}, why="Search with fewer words.")
    return NextStepView(tool="search_catalog", arguments={"query": ""}, why="Browse everything.")


def _products_text(view: AskView) -> list[str]:
    if not view.products:
        return ["Nothing in the store's catalogue was found for it."] if view.understood.looking_for else []
    told = [
        f"{quoted(product.title)} at {product.variants[0].price.text} ({'; '.join(product.why)})."
        for product in view.products
    ]
    return ["What fits:" if view.products[0].fits else "Nothing fits all of it. Nearest:", *told]


def _off(offer: OfferView) -> str:
    return f", {offer.discount.text} off" if offer.discount.amount_minor else ""


def _delivery_text(delivery: Sequence[DeliveryView], deadline: str | None) -> list[str]:
    said = {
        "yes": f", in time for {deadline}",
        "perhaps": f", perhaps by {deadline}",
        "no": f", too late for {deadline}",
    }
    return [
        f"{quoted(option.title)}{f' for {option.price.text}' if option.price else ''}: an order of today arrives between "
        f"{option.earliest} and {option.latest}{said[option.in_time] if option.in_time else ''}."
        for option in delivery
    ]
