"""Machines that train together: the model is one, judged as well as one machine's; who is not of the list is not heard."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from offer_engine.cli import main
from offer_engine.exploration import Exploration
from offer_engine.features import DEFAULT_SCHEMA
from offer_engine.judging.estimators import Estimator
from offer_engine.judging.judge import Judge, Verdict, from_lines
from offer_engine.judging.policies import LinearPolicy, ScoringPolicy
from offer_engine.judging.support import Needs
from offer_engine.learning import gbdt, machines, together
from offer_engine.learning.files import read_lines
from offer_engine.learning.linear import LinearModel, fit
from offer_engine.learning.log import Reading
from offer_engine.learning.machines import Machines, MachinesApart, MachinesRefused, gathered
from offer_engine.learning.registry import Card, ModelKind, Registry
from offer_engine.learning.rewards import RewardRule
from offer_engine.learning.training import Counted, Source, count
from offer_engine.market import Market, Player, Shape, lines

AS_OF = "1900000000000"
PROGRAM = "import sys; from offer_engine.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A log in two files, of which the second speaks of an offer more."""
    folder = tmp_path_factory.mktemp("log")
    paths = [folder / "a.jsonl", folder / "b.jsonl"]
    market = Market.made(Shape(arms=4, rounds=8_000, subjects=2_000, newcomers=1), seed=11)
    written = list(lines(market, Player(), seed=5))
    for path, half in zip(paths, (written[:4_000], written[4_000:]), strict=True):
        path.write_text("\n".join(half) + "\n", encoding="utf-8")
    return paths


def free_ports() -> str:
    """Two places on this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two))


def trained(kind: str, halves: list[Path], registry: Path) -> Card:
    """What two processes, each with its own half, make of the log."""
    places = free_ports()
    every = ["--kind", kind, "--registry", str(registry), "--as-of", AS_OF, "--jobs", "1"]
    commands = [
        [sys.executable, "-c", PROGRAM, "train", str(half), *every, "--machines", places, "--this", str(this)]
        for this, half in enumerate(halves)
    ]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for command in commands]
    said = [each.communicate(timeout=200) for each in running]
    assert [each.returncode for each in running] == [0, 0], said
    [card] = Registry(registry).cards()
    return card


def alone(kind: str, halves: list[Path], registry: Path) -> Card:
    """What one process makes of both halves."""
    command = ["train", *map(str, halves), "--kind", kind, "--registry", str(registry), "--as-of", AS_OF, "--jobs", "1"]
    assert main(command) == 0
    [card] = Registry(registry).cards()
    return card


def judged(halves: list[Path], policies: list[ScoringPolicy]) -> list[Verdict]:
    reading = Reading(DEFAULT_SCHEMA, RewardRule(), int(AS_OF), (70, 100))
    judgement = Judge(Needs((0.5, 1.5), 30.0, 5.0, 10), replicates=200).judge(
        reading, from_lines(reading, lambda: read_lines(halves)), policies
    )
    return [judgement.verdicts[policy.name] for policy in policies]


def policy_of(registry: Path, card: Card, name: str) -> ScoringPolicy:
    data = Registry(registry).load(card.model)
    if card.kind is ModelKind.BOOSTED:
        return gbdt.BoostedPolicy(gbdt.BoostedModel.from_bytes(data), Exploration(), name)
    return LinearPolicy(LinearModel.from_bytes(data), Exploration(), name)


@pytest.mark.parametrize("kind", ["linear", "boosted"])
def test_two_machines_train_a_model_that_judges_as_one_machine_s_does(
    kind: str, halves: list[Path], tmp_path: Path
) -> None:
    two, one = trained(kind, halves, tmp_path / "two"), alone(kind, halves, tmp_path / "one")
    assert (two.machines, one.machines) == (2, 1)
    for name in ("decisions", "left_out", "offers", "lines", "data_from_ms", "data_until_ms"):
        assert getattr(two, name) == getattr(one, name), name
    assert two.metrics == pytest.approx(one.metrics, rel=0.02)
    policies = [policy_of(tmp_path / "two", two, "two"), policy_of(tmp_path / "one", one, "one")]
    of_two, of_one = (verdict.values[Estimator.DR] for verdict in judged(halves, policies))
    assert of_one.lower < of_two.value < of_one.upper
    assert of_two.value == pytest.approx(of_one.value, abs=0.02)


def test_sums_of_two_machines_are_those_of_one_to_rounding(halves: list[Path]) -> None:
    source = Source(tuple(halves), DEFAULT_SCHEMA, RewardRule(), int(AS_OF), (0, 70))
    found = in_threads(free_ports(), [source_of(source, [half]) for half in halves])
    both = count(source)
    for each in found:
        np.testing.assert_allclose(
            fit(each.statistics, DEFAULT_SCHEMA).means, fit(both.statistics, DEFAULT_SCHEMA).means, atol=1e-9
        )
        assert each.reading.lines == both.reading.lines


def source_of(source: Source, paths: list[Path]) -> Source:
    return Source(tuple(paths), source.schema, source.rule, source.now_ms, source.trained_share)


def in_threads(places: str, sources: list[Source]) -> list[Counted]:
    """What each of two machines has after they came together."""
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(together.count_together, Machines.parsed(places, this, 60.0), source, 1)
            for this, source in enumerate(sources)
        ]
        return [future.result() for future in waiting]


def test_machines_with_other_options_do_not_train(halves: list[Path]) -> None:
    source = Source((halves[0],), DEFAULT_SCHEMA, RewardRule(), int(AS_OF), (0, 70))
    other = Source((halves[1],), DEFAULT_SCHEMA, RewardRule(), int(AS_OF) + 1, (0, 70))
    with pytest.raises(MachinesApart, match="other options"):
        in_threads(free_ports(), [source, other])


def test_a_machine_that_does_not_come_is_named() -> None:
    with pytest.raises(MachinesApart, match=r"did not come: \[1\]"):
        gathered(Machines.parsed(free_ports(), 0, 0.05), "options", b"mine")
    with pytest.raises(MachinesApart, match="the first machine did not come"):
        gathered(Machines.parsed(free_ports(), 1, 0.05), "options", b"mine")


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n" + b"x" * 40,
        machines._HELLO.pack(b"cordon-9", bytes(32), 1, 0),
        machines._HELLO.pack(b"cordon-1", bytes(32), 0, 0),
        machines._HELLO.pack(b"cordon-1", bytes(32), 2, 0),
        machines._HELLO.pack(b"cordon-1", bytes(32), 1, machines.MOST_BYTES + 1),
    ],
)
def test_whoever_speaks_otherwise_is_hung_up_on_and_the_machines_still_come_together(said: bytes) -> None:
    places = free_ports()
    first, second = Machines.parsed(places, 0, 60.0), Machines.parsed(places, 1, 60.0)
    with ThreadPoolExecutor(2) as pool:
        hosting = pool.submit(gathered, first, "options", b"of the first")
        with connected(first.places[0]) as stranger:
            stranger.sendall(said)
            assert hung_up(stranger)
        assert gathered(second, "options", b"of the second") == [b"of the first", b"of the second"]
        assert hosting.result() == [b"of the first", b"of the second"]


def connected(place: tuple[str, int]) -> socket.socket:
    """A connection to who is about to listen."""
    while True:
        try:
            return socket.create_connection(place, 30)
        except ConnectionRefusedError:
            continue


def hung_up(stranger: socket.socket) -> bool:
    try:
        return stranger.recv(1) == b""
    except ConnectionResetError:
        return True


def test_an_address_that_is_not_on_the_list_is_not_heard() -> None:
    listed = Machines((("127.0.0.1", 12_400), ("10.0.0.2", 12_400)), 0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(machines._HELLO.pack(b"cordon-1", bytes(32), 1, 0))
        assert machines._heard(ours, "127.0.0.1", listed, bytes(32)) == (None, b"")
        assert machines._heard(ours, "10.0.0.2", listed, bytes(32)) == (1, b""), (
            "planted: the same words from a listed one"
        )


@pytest.mark.parametrize(
    ("text", "this"),
    [
        ("", 0),
        ("10.0.0.1:12400", 0),
        ("10.0.0.1:12400,10.0.0.1:12400", 0),
        ("10.0.0.1:12400,10.0.0.2:12400", 2),
        ("10.0.0.1:12400,10.0.0.2:12400", -1),
        ("10.0.0.1:12400,10.0.0.2:80", 0),
        ("10.0.0.1:12400,host:12400", 0),
        (",".join(f"10.0.0.{number}:12400" for number in range(65)), 0),
    ],
)
def test_lists_that_name_no_machines_are_refused(text: str, this: int) -> None:
    with pytest.raises(MachinesRefused):
        Machines.parsed(text, this)


def test_several_machines_are_told_the_same_time_of_export(
    halves: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(halves[0]), "--registry", str(tmp_path), "--machines", free_ports()]) == 1
    assert "need the same --as-of" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [0, 10, 400])
def test_what_is_no_training_is_refused(halves: list[Path], cut: int) -> None:
    source = Source((halves[0],), DEFAULT_SCHEMA, RewardRule(), int(AS_OF))
    counted = count(source)
    data = together.packed(counted.reading, counted.summary, counted.statistics)
    assert together.unpacked(data, source).statistics.rows.sum() == counted.statistics.rows.sum()
    with pytest.raises(MachinesApart):
        together.unpacked(data[:-cut] if cut else b"", source)
