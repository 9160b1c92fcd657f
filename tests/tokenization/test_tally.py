"""What anybody can make happen is counted: nothing is left out, and the record does not grow by it."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tokenization.tally import INTERVAL_SECONDS, Tally

STEPS_MS = st.lists(st.integers(0, 2 * INTERVAL_SECONDS * 1000), max_size=60)


@given(steps_ms=STEPS_MS)
def test_every_occurrence_is_recorded_once_and_at_most_one_record_is_made_in_a_minute(steps_ms: list[int]) -> None:
    now_ms = 0
    tally = Tally(lambda: now_ms)
    records: list[tuple[int, int]] = []
    for step_ms in steps_ms:
        now_ms += step_ms
        if number := tally.count():
            records.append((now_ms, number))
    assert not steps_ms or records[0][1] == 1, "the first is recorded at once"
    assert all(later - before >= INTERVAL_SECONDS * 1000 for (before, _), (later, _) in itertools.pairwise(records))
    now_ms += INTERVAL_SECONDS * 1000
    assert sum(number for _, number in records) + tally.count() == len(steps_ms) + 1


def test_what_could_not_be_recorded_counts_again() -> None:
    now_ms = 0
    tally = Tally(lambda: now_ms)
    tally.keep(tally.count())
    now_ms = INTERVAL_SECONDS * 1000
    assert tally.count() == 2
