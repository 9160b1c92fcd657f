"""Who may hold how many connections: any order of coming, working and going keeps the limits and cuts into no answer."""

import ipaddress
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.requirement import requirement
from vault_zone.connections import Gate, Limits

LIMITS = Limits(connections=6, connections_of_one_address=2)
PROXY = "10.0.0.7"
PEERS = ("198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4", PROXY)
STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "answer", "wait", "leave"]), st.sampled_from(PEERS), st.integers(0, 9)),
    max_size=60,
)


class Line:
    """A connection that remembers whether it was dropped."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.is_answering = self.is_dropped = False

    def drop(self) -> None:
        self.is_dropped = True


def a_gate(limits: Limits = LIMITS) -> Gate:
    return Gate(limits, (ipaddress.ip_network(PROXY),))


def walk(gate: Gate, steps: list[tuple[str, str, int]]) -> list[Line]:
    """Plays the steps; returns the lines that are open, oldest first."""
    lines: list[Line] = []
    for act, peer, which in steps:
        if act == "come":
            line = Line(peer)
            if gate.admit(line):
                lines.append(line)
        elif lines:
            line = lines[which % len(lines)]
            line.is_answering = act == "answer"
            {"answer": gate.answers, "wait": gate.waits, "leave": gate.leave}[act](line)
            if act == "leave":
                lines.remove(line)
        assert not [line for line in lines if line.is_dropped and line.is_answering]  # (3)
        lines = [line for line in lines if not line.is_dropped]
    return lines


@requirement("6.2.4")
@given(STEPS)
def test_the_limits_hold_after_every_step_and_no_answer_is_cut_into(steps: list[tuple[str, str, int]]) -> None:
    gate = a_gate()
    lines = walk(gate, steps)
    assert len(lines) == len(gate) <= LIMITS.connections
    of_one = Counter(line.peer for line in lines if line.peer != PROXY)
    assert not [peer for peer, count in of_one.items() if count > LIMITS.connections_of_one_address]


@given(STEPS)
def test_a_gate_that_everybody_left_is_empty(steps: list[tuple[str, str, int]]) -> None:
    gate = a_gate()
    for line in walk(gate, steps):
        gate.leave(line)
        gate.leave(line)
    assert (len(gate), sum(gate._held.values())) == (0, 0)


def test_the_one_that_waited_longest_goes_first() -> None:
    gate = a_gate()
    lines = [Line(PROXY) for _ in range(6)]
    assert all(gate.admit(line) for line in lines)
    gate.waits(lines[0])  # said something
    gate.answers(lines[1])
    assert gate.admit(Line(PROXY))
    assert [line.is_dropped for line in lines] == [False, False, True, False, False, False]


def test_an_address_over_its_limit_loses_its_own_and_nobody_elses() -> None:
    gate = a_gate()
    other, first, second = Line("198.51.100.9"), Line("198.51.100.1"), Line("198.51.100.1")
    assert all(gate.admit(line) for line in (other, first, second))
    assert gate.admit(Line("198.51.100.1"))
    assert (other.is_dropped, first.is_dropped, second.is_dropped) == (False, True, False)


def test_a_new_one_is_refused_when_all_are_at_work() -> None:
    gate = a_gate()
    for _ in range(6):
        line = Line(PROXY)
        assert gate.admit(line)
        gate.answers(line)
    assert not gate.admit(Line(PROXY))
    assert (gate.refused, gate.displaced, len(gate)) == (1, 0, 6)


def test_addresses_of_one_household_count_together() -> None:
    gate = a_gate()
    lines = [Line(f"2001:db8::{number}") for number in range(1, 4)]
    assert all(gate.admit(line) for line in lines)
    assert [line.is_dropped for line in lines] == [True, False, False]


def test_a_gate_that_forgets_to_count_is_found_by_the_same_walk() -> None:
    gate = a_gate(Limits(connections=600, connections_of_one_address=600))
    assert len(walk(gate, [("come", PEERS[0], 0)] * 7)) > LIMITS.connections
