"""``vault-zone charges`` and commerce's client against a running zone, over mutual TLS, each with its own certificate."""

import asyncio
import re
from pathlib import Path

import pytest

from commerce_api.vault_client import VaultClient, VaultRefused
from tests.vault_zone.authority import issue_to, make_zone_files
from tests.vault_zone.test_admission import running
from tests.vault_zone.world import ACTOR, World, charge_request, modification_request, zone_world
from tokenization.wire import Charge, ChargeState, ModificationKind, ModificationState
from vault_zone.cli import main

pytestmark = pytest.mark.anyio


async def charged(world: World, checkout: str) -> Charge:
    grant = await world.captured_grant(checkout=checkout)
    return await world.engine.charge(charge_request(grant, checkout=checkout), ACTOR)


async def test_commerce_refunds_and_two_operators_decide_what_the_processor_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_zone_files(tmp_path)
    issue_to(tmp_path, "commerce")
    for who in ("ana", "ben"):
        issue_to(tmp_path, f"operator:{who}", role="payment_manager")
    async with zone_world(f"sqlite:///{tmp_path / 'zone.sqlite3'}") as world, running(tmp_path, world) as (_, url):

        async def command(who: str, *words: str) -> tuple[int, str]:
            """What a command of an operator ends with, and what it prints."""
            arguments = [*words, "--zone", url, "--as", str(tmp_path / who / who)]
            capsys.readouterr()  # what the server said before
            code = await asyncio.to_thread(main, arguments)
            return code, capsys.readouterr().out

        paid = await charged(world, "chk_paid")
        vault = VaultClient(url, tmp_path / "commerce")
        try:
            asked = modification_request(paid, ModificationKind.REFUND, amount_minor=500)
            assert await vault.find_modification(asked.merchant, asked.request) is None
            refund = await vault.modify(asked)
            assert (refund.state, refund.charge.refunded_minor) == (ModificationState.SUCCEEDED, 500)
            assert await vault.find_modification(asked.merchant, asked.request) == refund
            with pytest.raises(VaultRefused, match="modification_conflict"):
                await vault.modify(asked.model_copy(update={"amount_minor": 501}))
        finally:
            await vault.close()

        assert await command("ana", "charges", "attention") == (0, "")
        world.processor.lose_request = world.processor.unreachable_find = True
        doubtful = await charged(world, "chk_doubtful")
        world.clock.advance(3_600)
        await world.lapses.sweep()
        code, listed = await command("ana", "charges", "attention")
        assert code == 1
        assert listed.startswith(f"{doubtful.charge} charge unknown: unknown_too_long since ")
        _, shown = await command("ben", "charges", "show", doubtful.charge)
        assert "needs attention: unknown_too_long" in shown
        assert "leg 1: fake, by_default: unknown" in shown
        resolve = ("charges", "resolve", doubtful.charge, "--outcome", "failed", "--reason", "seen_at_processor")
        code, waits = await command("ana", *resolve)
        assert code == 0
        [operation] = set(re.findall(r"opr_\w+", waits))
        assert (await command("ana", "operations", "approve", operation))[0] == 1, "not by oneself"
        assert (await command("ben", "operations", "approve", operation))[0] == 0
        found = await world.engine.find(doubtful.merchant, doubtful.payment)
        assert found is not None
        assert found.state is ChargeState.FAILED
        assert await command("ana", "charges", "attention") == (0, "")
