"""The policy's terms for assistants: whether and how much they may pay, and in whose payment sheet."""

from typing import Annotated, Literal

from pydantic import Field

from commerce_api.policy_fields import Id, Part, PositiveAmountMinor


class ChatGptSheet(Part):
    """Lets shoppers pay in ChatGPT's payment sheet, a private beta of OpenAI's, which shows the terms and privacy notice.

    ``provider`` and ``merchant_id`` are the names under which OpenAI gives a shopper's card to the shop's vault; ``test`` moves
    no money.
    """

    provider: Id
    merchant_id: Id
    methods: Annotated[tuple[Literal["card", "apple_pay", "google_pay"], ...], Field(min_length=1, max_length=3)] = (
        "card",
    )
    mode: Literal["test", "live"] = "test"


class AssistantPayments(Part):
    """Lets assistants pay with tokens that their platforms get from the zone. A policy without it: only shoppers pay.

    ``maximum_minor`` bounds each purchase; of ``limits_minor`` shoppers choose what an assistant of theirs may spend in all.
    ``guests``: whether tokens are taken from who did not sign in, for whom nobody set a limit.
    """

    maximum_minor: PositiveAmountMinor
    guests: bool = False
    limits_minor: Annotated[tuple[PositiveAmountMinor, ...], Field(min_length=1, max_length=6)]
    chatgpt_sheet: ChatGptSheet | None = None
