"""What carries a card to a processor goes to that processor alone: no proxy of the environment, no redirect, no long answer."""

from collections.abc import Callable

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.vault_zone.processors.adyen_counterpart import API_KEY, HMAC_KEY, MERCHANT_ACCOUNT
from tests.vault_zone.processors.connector_suite import Answering
from tests.vault_zone.processors.localstripe import TEST_KEY
from tests.vault_zone.processors.sandbox_server.world import served
from tests.vault_zone.processors.test_stripe import SECRET, fixed_charge
from vault_zone.processors.adyen_connector import AdyenProcessor
from vault_zone.processors.believing import MAXIMUM_ANSWER_BYTES
from vault_zone.processors.port import Outcome, Processor
from vault_zone.processors.stripe_connector import StripeProcessor

pytestmark = pytest.mark.anyio
Made = Callable[[str], Processor]


class Elsewhere:
    """A server that nothing may reach, and that remembers what did."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append(Request(scope).url.path)
        await Response(b"{}", 200)(scope, receive, send)


@pytest.fixture(params=["stripe", "adyen"])
def made(request: pytest.FixtureRequest) -> Made:
    """Each connector, for a processor at this address."""
    if request.param == "stripe":
        return lambda url: StripeProcessor(TEST_KEY, SECRET, api_base=url, timeout_seconds=5.0)
    return lambda url: AdyenProcessor(API_KEY, MERCHANT_ACCOUNT, HMAC_KEY, api_base=url, timeout_seconds=5.0)


async def charged(processor: Processor) -> Outcome:
    """What a charge comes to."""
    answer = await processor.charge(fixed_charge())
    await processor.close()
    return answer.outcome


async def test_no_proxy_of_the_environment_is_given_a_card(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Elsewhere()
    async with served(elsewhere) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert await charged(made("http://127.0.0.1:1")) is Outcome.NEVER_SENT
    assert elsewhere.reached == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_takes_a_card_elsewhere(made: Made, status: int) -> None:
    elsewhere = Elsewhere()
    async with served(elsewhere) as address:
        redirect = Answering(status, b"{}")
        redirect.response.headers["location"] = f"{address}/v1/elsewhere"
        async with served(redirect) as url:
            assert await charged(made(url)) in (Outcome.UNKNOWN, Outcome.NEVER_SENT)
    assert elsewhere.reached == []


async def test_an_answer_without_end_is_none(made: Made) -> None:
    long = b'{"id":"' + b"a" * MAXIMUM_ANSWER_BYTES + b'"}'
    async with served(Answering(200, long)) as url:
        assert await charged(made(url)) in (Outcome.UNKNOWN, Outcome.NEVER_SENT)
