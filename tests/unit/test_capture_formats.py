"""A file's own marks tell whether it is whole, at every length."""

import zipfile
from pathlib import Path

import pytest

from framework_files import safetensors_bytes, torch_bytes
from vaultlayer_agent.capture.formats import is_whole


def judge(name: str, data: bytes) -> bool | None:
    return is_whole(name, len(data), lambda most: data[:most], lambda most: data[-most:])


@pytest.mark.parametrize(
    ("name", "data"), [("m.safetensors", safetensors_bytes()), ("c.pt", torch_bytes())]
)
def test_a_file_is_whole_at_its_full_length_and_at_no_other(name: str, data: bytes) -> None:
    assert judge(name, data) is True
    for length in range(4, len(data)):
        assert not judge(name, data[:length]), length


def test_a_file_of_length_zero_is_not_whole() -> None:
    assert judge("c.pt", b"") is False
    assert judge("m.safetensors", b"") is False


def test_a_zip_with_a_comment_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.json", "{}")
        archive.comment = b"made by hand"
    data = path.read_bytes()
    assert judge("m.keras", data) is True
    assert judge("m.keras", data[:-20]) is False


def test_an_old_torch_file_bears_no_mark() -> None:
    assert judge("old.pt", b"\x80\x02some pickle") is None


def test_a_plain_data_file_bears_no_mark() -> None:
    assert judge("train.bin", b"\x01\x02\x03\x04" * 100) is None
    assert judge("log.csv", b"1,2\n") is None


def test_a_hostile_safetensors_header_is_only_broken() -> None:
    for header in (
        b"[1]",
        b"{",
        b'{"w": 3}',
        b'{"w": {"data_offsets": 7}}',
        b'{"w": {"data_offsets": []}}',
    ):
        data = len(header).to_bytes(8, "little") + header
        assert judge("m.safetensors", data) is False
    assert judge("m.safetensors", (2**63).to_bytes(8, "little") + b"{}") is False


@pytest.mark.parametrize("version", [0, 2])
def test_an_hdf5_file_reaches_as_far_as_its_superblock_says(version: int) -> None:
    block = bytearray(b"\x89HDF\r\n\x1a\n" + bytes(56))
    block[8] = version
    at = 40 if version == 0 else 28
    block[at : at + 8] = (200).to_bytes(8, "little")
    assert judge("w.weights.h5", bytes(block) + bytes(136)) is True
    assert judge("w.weights.h5", bytes(block) + bytes(100)) is False
