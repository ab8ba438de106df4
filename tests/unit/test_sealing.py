"""A sealed secret opens for its reader only, and says nothing of itself when it does not open."""

import base64

import pytest

from vaultlayer.errors import SealError
from vaultlayer.sealing import is_seal_key, lock, public_of, seal, unlock, unseal

READER = b"r" * 32
OTHER = b"o" * 32
SECRET = b"hunter2 is the value"


def test_the_reader_opens_what_was_sealed_to_it():
    box = seal(public_of(READER), SECRET)
    assert unseal(READER, box) == SECRET
    assert SECRET not in base64.b64decode(box)
    assert seal(public_of(READER), SECRET) != box


def test_nobody_else_opens_it_and_the_error_names_no_secret():
    box = seal(public_of(READER), SECRET)
    with pytest.raises(SealError) as raised:
        unseal(OTHER, box)
    told = str(raised.value) + repr(raised.value) + repr(raised.value.body())
    assert "hunter2" not in told
    assert box not in told


@pytest.mark.parametrize("damage", ["", "%%%", "AAAA", "not base64 at all"])
def test_a_damaged_box_is_a_seal_error(damage: str):
    with pytest.raises(SealError):
        unseal(READER, damage)
    with pytest.raises(SealError):
        unlock(READER, damage)


def test_a_flipped_bit_is_seen():
    raw = bytearray(base64.b64decode(seal(public_of(READER), SECRET)))
    raw[-1] ^= 1
    with pytest.raises(SealError):
        unseal(READER, base64.b64encode(raw).decode())


@pytest.mark.parametrize("key", ["", "short", base64.b64encode(b"x" * 31).decode(), "é" * 44])
def test_a_key_that_is_none_is_refused(key: str):
    assert not is_seal_key(key)
    with pytest.raises(SealError):
        seal(key, SECRET)


def test_the_all_zero_key_which_everybody_could_open_is_refused():
    with pytest.raises(SealError):
        seal(base64.b64encode(bytes(32)).decode(), SECRET)


def test_storage_opens_with_the_same_key_only():
    box = lock(READER, SECRET, nonce=b"n" * 24)
    assert unlock(READER, box) == SECRET
    with pytest.raises(SealError):
        unlock(OTHER, box)
    with pytest.raises(SealError):
        unlock(b"short", box)
