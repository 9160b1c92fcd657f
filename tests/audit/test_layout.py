"""Paths and bundles of C2SP tlog-tiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.layout import ENTRIES, BundleBroken, Tile, pack, right_edge, tile_of_path, unpack, width_at

TILES = st.builds(Tile, st.integers(ENTRIES, 7), st.integers(0, 10**10), st.integers(1, 256))


def test_paths_are_those_of_the_specification() -> None:
    assert Tile(0, 0).path == "tile/0/000"
    assert Tile(3, 1234067).path == "tile/3/x001/x234/067"
    assert Tile(ENTRIES, 1000, 17).path == "tile/entries/x001/000.p/17"


@given(TILES)
def test_a_path_names_one_tile_and_a_tile_has_one_path(tile: Tile) -> None:
    assert tile_of_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/x000/001",
        "tile/0/1",
        "tile/8/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/07",
        "tile/0/000.p",
        "tile/0/001/000",
        "tile/entries/000/",
        "tile/0/٠٠٠",
        "checkpoint",
        "../tile/0/000",
    ],
)
def test_other_paths_name_no_tile(path: str) -> None:
    assert tile_of_path(path) is None


def test_the_right_edge_is_what_does_not_fill_a_tile() -> None:
    assert right_edge(0) == []
    assert right_edge(256) == [Tile(1, 0, 1)]
    assert right_edge(70_000) == [Tile(ENTRIES, 273, 112), Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert width_at(ENTRIES, 70_000) == 70_000


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    assert unpack(pack(entries)) == entries


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5), st.data())
def test_a_bundle_cut_inside_an_entry_is_refused(entries: list[bytes], data: st.DataObject) -> None:
    bundle = pack(entries)
    whole = {len(pack(entries[:count])) for count in range(len(entries) + 1)}
    cut = data.draw(st.integers(0, len(bundle)).filter(lambda length: length not in whole))
    with pytest.raises(BundleBroken):
        unpack(bundle[:cut])


def test_an_entry_has_at_most_65535_bytes() -> None:
    assert unpack(pack([bytes(65_535)])) == [bytes(65_535)]
    with pytest.raises(ValueError, match="65,535"):
        pack([bytes(65_536)])
