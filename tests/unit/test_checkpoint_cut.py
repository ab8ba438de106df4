"""Pieces follow tensors where a header tells where they are, and cover the file whatever it says."""

import io
import itertools
import json
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.checkpoint.cut import PIECE_LEAST_B, Read, cut, lengths
from vaultlayer.checkpoint.manifest import PIECE_MOST_B

MIB = 1024 * 1024


def reader(data: bytes) -> Read:
    return lambda at, most: data[at : at + most]


def parts(data: bytes, name: str) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    for length in cut(name, len(data), reader(data)):
        found.append(data[at : at + length])
        at += length
    assert b"".join(found) == data
    return found


def safetensors(tensors: dict[str, bytes]) -> bytes:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(tensors.values())


def test_each_large_tensor_of_a_safetensors_file_is_its_own_piece() -> None:
    tensors = {f"t{n}": bytes([n]) * (PIECE_LEAST_B + n) for n in range(20)}
    assert parts(safetensors(tensors), "m.safetensors")[1:] == list(tensors.values())


def test_a_changed_tensor_changes_its_own_piece_only() -> None:
    tensors = {f"t{n}": bytes([n]) * 100_000 for n in range(20)}
    before = parts(safetensors(tensors), "m.safetensors")
    after = parts(safetensors(tensors | {"t7": b"x" * 100_000}), "m.safetensors")
    assert [n for n, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]] == [
        8
    ]


def test_small_tensors_share_pieces_and_never_take_a_large_one_with_them() -> None:
    tensors = {f"t{n}": bytes([n]) * (100 if n % 10 else 50_000) for n in range(100)}
    found = parts(safetensors(tensors), "m.safetensors")
    assert sum(len(part) == 50_000 for part in found) == 10
    assert len(found) < 25


def test_a_real_safetensors_file_is_cut_at_its_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save_file = pytest.importorskip("safetensors.torch").save_file
    state = {f"layer.{n}": torch.full((300, 100), float(n)) for n in range(5)}
    save_file(state, tmp_path / "m.safetensors")
    found = parts((tmp_path / "m.safetensors").read_bytes(), "m.safetensors")
    assert found[1:] == [state[f"layer.{n}"].numpy().tobytes() for n in range(5)]


def test_a_changed_tensor_in_a_torch_file_leaves_the_others_pieces_alone() -> None:
    torch = pytest.importorskip("torch")

    def save(seventh: float) -> bytes:
        file = io.BytesIO()
        torch.save(
            {f"t{n}": torch.full((30_000,), seventh if n == 7 else float(n)) for n in range(12)},
            file,
        )
        return file.getvalue()

    before, after = parts(save(7.0), "o.pt"), parts(save(0.5), "o.pt")
    changed = [n for n, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert len(before) >= 13
    # The tensor, and the directory at the end, which holds its checksum.
    assert sum(len(after[n]) for n in changed) < 120_000 + 2 * PIECE_LEAST_B


def test_a_file_of_no_known_format_is_cut_at_fixed_places() -> None:
    size = 2 * PIECE_MOST_B + 5
    assert cut("data.npy", size, reader(b"")) == [PIECE_MOST_B, PIECE_MOST_B, 5]


def test_an_empty_file_has_no_pieces() -> None:
    assert cut("a.safetensors", 0, reader(b"")) == []


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt"])
@given(st.binary(max_size=300))
def test_a_broken_header_costs_deduplication_and_nothing_else(name: str, noise: bytes) -> None:
    for data in (noise, b"PK\x03\x04" + noise, struct.pack("<Q", len(noise)) + noise):
        padded = data + b"\0" * (2 * PIECE_LEAST_B)
        assert b"".join(parts(padded, name)) == padded


@given(st.data())
def test_a_damaged_zip_directory_is_survived(data: st.DataObject) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for n in range(5):
            archive.writestr(f"r{n}", bytes([n]) * PIECE_LEAST_B)
    good = bytearray(file.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        good[data.draw(st.integers(len(good) - 350, len(good) - 1))] = data.draw(
            st.integers(0, 255)
        )
    parts(bytes(good), "m.pt")


@given(
    st.lists(st.integers(-10, 60 * MIB), max_size=40),
    st.integers(0, 50 * MIB),
)
def test_pieces_add_up_and_stay_within_bounds(edges: Sequence[int], size_b: int) -> None:
    found = lengths(edges, size_b)
    assert sum(found) == size_b
    assert all(0 < length <= PIECE_MOST_B for length in found)
    places = {sum(found[:n]) for n in range(len(found) + 1)}
    kept = sorted({0, size_b, *(edge for edge in edges if 0 < edge < size_b)})
    for start, end in itertools.pairwise(kept):
        if end - start >= PIECE_LEAST_B:
            assert {start, end} <= places
