"""What goes wrong around a purchase, over real processes: told by code, nothing lost, and asking again ends it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.journeys.running import ROOT, Running, add_store, cordon, running_stack, wait_for

DECLINES = {
    "4000000000000002": "card",
    "4000000000009995": "insufficient funds",
    "4000000000000069": "expired",
    "4000000000000127": "security code",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One stack on SQLite for all faults of this file."""
    data = tmp_path_factory.mktemp("stack")
    add_store(data)
    with running_stack(data) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "stack" in request.fixturenames:
        request.getfixturevalue("stack").processor("DELETE", "/sandbox/faults")


def paid(stack: Running, checkout: dict[str, object]) -> bool:
    return bool(stack.look(str(checkout["checkout_id"]))["status"] == "completed")


def charges_of(stack: Running, before: int) -> list[str]:
    return [charge["status"] for charge in stack.charges()[before:]]


def test_the_description_has_every_key_that_tools_rely_on(stack: Running) -> None:
    keys = {
        "data_dir",
        "pids",
        "capture_url",
        "zone_internal_url",
        "commerce_url",
        "console_url",
        "processor_url",
        "brands",
    }
    assert keys <= set(stack.described)
    assert set(stack.described["pids"]) == {"processor", "zone", "commerce", "mcp"}
    assert set(stack.brand) == {"mcp_url", "acp_base_url", "ucp_profile_url", "checkout_page_url", "agent_api_key"}


def test_commerce_cannot_be_reached_at_the_zone_without_its_certificate(stack: Running) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{stack.described['zone_internal_url']}/v1/health", verify=False, trust_env=False)


@pytest.mark.parametrize("number", DECLINES)
def test_a_declined_card_says_why_and_another_one_pays(stack: Running, number: str) -> None:
    before = len(stack.charges())
    checkout = stack.checkout()
    assert stack.pay(checkout, number)
    told = [m for m in stack.look(checkout["checkout_id"])["messages"] if m["code"] == "payment_declined"]
    assert DECLINES[number] in told[0]["content"]
    assert stack.pay(checkout)
    assert paid(stack, checkout)
    assert charges_of(stack, before) == ["declined", "succeeded"]


def test_a_reply_that_is_lost_after_the_effect_is_one_charge_and_one_order(stack: Running) -> None:
    before = len(stack.charges())
    stack.processor("POST", "/sandbox/faults", {"mode": "drop_after", "times": 1})
    checkout = stack.checkout()
    stack.pay(checkout)
    wait_for(lambda: paid(stack, checkout), "the order never came")
    assert charges_of(stack, before) == ["succeeded"]


def test_a_slow_processor_is_waited_for_and_charged_once(stack: Running) -> None:
    before = len(stack.charges())
    checkout = stack.checkout()
    stack.pay(checkout, "4012888888881881")
    wait_for(lambda: paid(stack, checkout), "the order never came")
    assert charges_of(stack, before) == ["succeeded"]


@pytest.mark.parametrize("program", ["commerce", "zone", "processor", "mcp"])
def test_a_program_killed_while_the_shopper_has_the_link_comes_back_and_the_purchase_goes_on(
    stack: Running, program: str
) -> None:
    before = len(stack.charges())
    checkout = stack.checkout()
    old = stack.pids()[program]
    stack.kill(program)
    stack.pay(checkout)
    stack.await_restart(program, old)
    wait_for(lambda: paid(stack, checkout) or stack.pay(checkout), "the shopper could not pay after the restart")
    wait_for(lambda: paid(stack, checkout), "the order never came")
    assert charges_of(stack, before).count("succeeded") == 1


def test_a_zone_killed_in_the_middle_of_a_charge_accounts_for_it(stack: Running) -> None:
    """The processor takes the money, slowly; the zone dies waiting; after the restart there is one charge and one order."""
    before = len(stack.charges())
    checkout = stack.checkout()
    old = stack.pids()["zone"]
    stack.processor("POST", "/sandbox/faults", {"mode": "delay_after", "times": 1, "delay_seconds": 3})
    payer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "from examples.demo.shopper import pay_over_http; from examples.demo.leaks import Card\n"
                f"pay_over_http({checkout['continue_url']!r}, Card('4242424242424242', '737'), lambda _: None)"
            ),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: len(stack.charges()) > before, "the charge never reached the processor")
    stack.kill("zone")
    payer.wait(120)
    stack.await_restart("zone", old)
    wait_for(lambda: paid(stack, checkout), "the order never came")
    assert charges_of(stack, before) == ["succeeded"]


def test_authentication_is_done_on_the_banks_page_and_then_the_order_is_there(stack: Running) -> None:
    checkout = stack.checkout()
    assert stack.pay(checkout, "4000002760003184")
    page = httpx.get(checkout["continue_url"], trust_env=False)
    address = next(part for part in page.text.split('"') if "/acs/" in part)
    assert httpx.get(address, trust_env=False).status_code == 200
    httpx.post(address, data={"outcome": "approve"}, trust_env=False)
    wait_for(lambda: paid(stack, checkout), "the order never came")


def test_a_number_that_is_not_a_published_test_number_is_refused_by_the_sandbox(stack: Running) -> None:
    before = len(stack.charges())
    checkout = stack.checkout()
    stack.pay(checkout, made_up_number())
    assert not paid(stack, checkout)
    assert charges_of(stack, before).count("succeeded") == 0
    stack.pay(checkout)
    wait_for(lambda: paid(stack, checkout), "a test card should pay after it")


def made_up_number() -> str:
    """A Visa-like number that passes Luhn and is nobody's published test number; made here, never stored."""
    from tests.vault_zone.card_strategies import with_check_digit

    return with_check_digit("499999" + "0" * 9)


def test_the_stack_runs_on_postgresql_with_a_database_and_a_role_for_each_side(
    tmp_path: Path, postgres_url: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with running_stack(data, "--database-url", postgres_url) as stack:
        urls = [(data / side / "database.url").read_text(encoding="utf-8") for side in ("zone", "commerce")]
        assert len({url.split("@")[0] for url in urls}) == 2
        add_store(data, "--database-url", urls[1].strip())
        described = cordon("doctor", "--data", str(data))
        assert "keys" in described.stdout
        stack.described["brands"]["harbour-pine"] = {"agent_api_key": agent_key_of(data)}
        checkout = stack.checkout()
        assert stack.pay(checkout)
        wait_for(lambda: paid(stack, checkout), "the order never came")
        assert charges_of(stack, 0) == ["succeeded"]
    done = subprocess.run([sys.executable, "-m", "audit.cli", "verify", str(data)], capture_output=True, check=False)
    assert done.returncode == 0


def agent_key_of(data: Path) -> str:
    from commerce_api.brands import Brand, agent_key
    from commerce_api.policy import default_policy

    secret = (data / "commerce" / "keys" / "agent.key").read_bytes().strip()
    return agent_key(Brand("harbour-pine", "Harbour & Pine", "USD", default_policy("USD"), 1), secret)


def test_two_stacks_cannot_share_a_data_directory(stack: Running) -> None:
    second = cordon("up", "--data", str(stack.data), "--port-base", "0")
    assert second.returncode == 1
    assert "running" in second.stderr


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path, stack: Running) -> None:
    port = int(stack.described["capture_url"].rsplit(":", 1)[1])
    refused = cordon("up", "--data", str(tmp_path), "--port-base", str(port))
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"cordon: port {port}")
    assert len(refused.stderr.splitlines()) == 1
