"""Lines: numbering, faults, limits, memory."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commerce_api.catalogue.feed_lines import FeedFault, FeedUnreadable, read_lines

MEBIBYTE = 1024 * 1024


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300), packed=st.booleans())
def test_the_lines_of_a_file_are_its_lines(tmp_path: Path, content: bytes, packed: bool) -> None:
    path = tmp_path / ("f.jsonl.gz" if packed else "f.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    lines = list(read_lines(path))
    expected = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    for line, raw in zip(lines, expected, strict=False):
        assert line.fault is not None or line.text.encode().removesuffix(b"\n") == raw


def test_a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b"x" * (MEBIBYTE - 1) + b"\n" + b"y" * MEBIBYTE + b"\nz")
    assert [(line.number, line.fault, len(line.text)) for line in read_lines(path)] == [
        (1, None, MEBIBYTE),
        (2, "line_too_long", 0),
        (3, None, 1),
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_a_line_without_end_is_not_held_in_memory(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("f.jsonl.gz" if packed else "f.jsonl")
    content = b"x" * (24 * MEBIBYTE) + b"\nend"
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    del content
    tracemalloc.start()
    try:
        faults = [line.fault for line in read_lines(path)]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert faults == ["line_too_long", None]
    assert peak_bytes < 6 * MEBIBYTE


@pytest.mark.parametrize("content", [b"a\n" * 5_000, b"a" * 9_000_000])
def test_a_feed_above_the_limit_unpacked_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.jsonl.gz"
    path.write_bytes(gzip.compress(content))
    with pytest.raises(FeedUnreadable) as raised:
        list(read_lines(path, maximum_bytes=len(content) - 1))
    assert raised.value.code is FeedFault.TOO_LARGE
    assert list(read_lines(path, maximum_bytes=len(content)))
