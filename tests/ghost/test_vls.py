"""The snapshot file: aligned, whole or refused, and equal storages are equal bytes."""

import os
from pathlib import Path

import pytest

from ghosts import hook_module

vls = hook_module("vls")
state = hook_module("state")

STORAGES = [b"", b"x" * 7, os.urandom(100_000), b"x" * 7]


def written(path: Path) -> Path:
    file = path / "snap-1.vls"
    views = [memoryview(data) for data in STORAGES]
    size_b = vls.write(str(file), {"step": 3}, ((1, 2.5), "state"), views)
    assert file.stat().st_size == size_b
    return file


def test_a_snapshot_gives_back_what_it_was_given(tmp_path: Path) -> None:
    reader = vls.Reader(str(written(tmp_path)))
    assert reader.index["step"] == 3
    assert reader.state == ((1, 2.5), "state")
    for number, data in enumerate(STORAGES):
        entry = reader.index["storages"][number]
        assert entry["offset"] % 64 == 0
        into = bytearray(entry["size"])
        reader.storage(number, memoryview(into))
        assert into == data
    reader.close()
    assert [p.name for p in tmp_path.iterdir()] == ["snap-1.vls"], "no partial file stays"


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_snapshot_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    file = written(tmp_path)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(state.Refused):
        vls.Reader(str(file))


def test_a_flipped_bit_anywhere_that_counts_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path)
    data = file.read_bytes()
    reader = vls.Reader(str(file))
    entries = [*reader.index["storages"], reader.index["state"]]
    reader.close()
    places = [0, 9, 17, 70] + [e["offset"] + e["size"] // 2 for e in entries if e["size"]]
    for at in places:
        body = bytearray(data)
        body[at] ^= 4
        file.write_bytes(bytes(body))
        with pytest.raises(state.Refused):
            read_all(file)


def read_all(file: Path) -> None:
    reader = vls.Reader(str(file))
    try:
        for number, entry in enumerate(reader.index["storages"]):
            reader.storage(number, memoryview(bytearray(entry["size"])))
    finally:
        reader.close()


def test_a_missing_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(state.Refused, match=r"snap-9\.vls"):
        vls.Reader(str(tmp_path / "snap-9.vls"))
