"""A manifest is untrusted input: what is wrong with it is found before anybody acts on it."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultlayer.checkpoint.manifest import (
    PACK_MOST_B,
    PIECE_MOST_B,
    FileEntry,
    Manifest,
    Pack,
    Piece,
    chain_digest,
    decode_manifest,
    encode_manifest,
    manifest_id,
)
from vaultlayer.checkpoint.names import name_fault, spell, unspell
from vaultlayer.errors import CheckpointError

JOB = "j234567892"
DIGEST = hashlib.sha256(b"x").hexdigest()
KEY = f"jobs/{JOB}/a1-abc/packs/{DIGEST}"


def entry(name: str = "a", **changes: Any) -> FileEntry:
    fields: dict[str, Any] = {
        "root": "work",
        "name": name,
        "kind": "file",
        "mode": 0o644,
        "mtime_ns": 1,
        "size_b": 10,
        "pieces": (Piece(0, 0, 10, DIGEST),),
        "target": "",
    }
    if changes.get("kind", "file") != "file":
        fields |= {"size_b": 0, "pieces": ()}
    return FileEntry(**(fields | changes))


def manifest(*files: FileEntry, **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "format": 1,
        "job": JOB,
        "attempt": 1,
        "incarnation": "abc",
        "seq": 3,
        "step": 7,
        "parent": "",
        "created_ms": 5,
        "files": files or (entry(),),
        "packs": (Pack(key=KEY, size_b=20),),
        "meta": {"framework": "hf", "a": "b"},
    }
    return Manifest(**(fields | changes))


def test_a_manifest_comes_back_as_it_was_and_its_bytes_are_canonical_json() -> None:
    whole = manifest(entry(), entry("d", kind="dir"), entry("l", kind="symlink", target="/etc"))
    data = encode_manifest(whole)
    assert decode_manifest(data) == whole
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()
    assert manifest_id(data) == hashlib.sha256(data).hexdigest()


def test_the_same_manifest_has_the_same_id_whatever_order_its_meta_was_built_in() -> None:
    one, two = manifest(meta={"a": "1", "b": "2"}), manifest(meta={"b": "2", "a": "1"})
    assert manifest_id(encode_manifest(one)) == manifest_id(encode_manifest(two))


HOSTILE: list[tuple[str, Callable[[], Manifest]]] = [
    ("a name climbs out", lambda: manifest(entry("../x"))),
    ("a name climbs out inside", lambda: manifest(entry("a/../../x"))),
    ("a name is absolute", lambda: manifest(entry("/etc/passwd"))),
    ("a name is empty", lambda: manifest(entry(""))),
    ("a name is a dot", lambda: manifest(entry("."))),
    ("a name ends with a slash", lambda: manifest(entry("a/"))),
    ("a name holds a zero byte", lambda: manifest(entry("a\0b"))),
    ("a name is spelled twice", lambda: manifest(entry("\\xc3\\xa9"))),
    ("a name hides a slash", lambda: manifest(entry("a\\x2f"))),
    ("a name part is too long", lambda: manifest(entry("a" * 256))),
    ("a name is too long", lambda: manifest(entry("/".join(["a" * 200] * 21)))),
    ("a name comes twice", lambda: manifest(entry("a"), entry("a"))),
    ("a file lies in a file", lambda: manifest(entry("a"), entry("a/b"))),
    (
        "a file lies behind a link",
        lambda: manifest(entry("a", kind="symlink", target="/etc"), entry("a/passwd")),
    ),
    (
        "a file lies behind a link, listed first",
        lambda: manifest(entry("a/x/passwd"), entry("a", kind="symlink", target="/etc")),
    ),
    ("a root is a path", lambda: manifest(entry(root="../work"))),
    ("a root is empty", lambda: manifest(entry(root=""))),
    ("a kind is unknown", lambda: manifest(entry(kind="device"))),
    ("a link has no target", lambda: manifest(entry(kind="symlink", target=""))),
    ("a file has a target", lambda: manifest(entry(target="x"))),
    ("a directory has content", lambda: manifest(entry(kind="dir", size_b=10))),
    (
        "a link has pieces",
        lambda: manifest(entry(kind="symlink", target="x", pieces=(Piece(0, 0, 1, DIGEST),))),
    ),
    ("a mode is setuid", lambda: manifest(entry(mode=0o4755))),
    ("a mode is negative", lambda: manifest(entry(mode=-1))),
    ("pieces are short", lambda: manifest(entry(size_b=11))),
    ("pieces are long", lambda: manifest(entry(size_b=9))),
    ("a size is negative", lambda: manifest(entry(size_b=-1, pieces=()))),
    ("a piece names no pack", lambda: manifest(entry(pieces=(Piece(1, 0, 10, DIGEST),)))),
    ("a piece names pack -1", lambda: manifest(entry(pieces=(Piece(-1, 0, 10, DIGEST),)))),
    ("a piece leaves its pack", lambda: manifest(entry(pieces=(Piece(0, 11, 10, DIGEST),)))),
    ("a piece begins before its pack", lambda: manifest(entry(pieces=(Piece(0, -1, 10, DIGEST),)))),
    ("a piece is empty", lambda: manifest(entry(size_b=0, pieces=(Piece(0, 0, 0, DIGEST),)))),
    ("a piece has no digest", lambda: manifest(entry(pieces=(Piece(0, 0, 10, "x"),)))),
    (
        "a piece is too large",
        lambda: manifest(
            entry(size_b=PIECE_MOST_B + 1, pieces=(Piece(0, 0, PIECE_MOST_B + 1, DIGEST),)),
            packs=(Pack(key=KEY, size_b=PACK_MOST_B),),
        ),
    ),
    ("a pack is too large", lambda: manifest(packs=(Pack(key=KEY, size_b=PACK_MOST_B + 1),))),
    ("a pack is empty", lambda: manifest(packs=(Pack(key=KEY, size_b=0),))),
    ("a pack comes twice", lambda: manifest(packs=(Pack(key=KEY, size_b=20),) * 2)),
    (
        "a pack is another job's",
        lambda: manifest(packs=(Pack(key=KEY.replace(JOB, "j999999999"), size_b=20),)),
    ),
    ("a pack climbs out", lambda: manifest(packs=(Pack(key=f"jobs/x/../{KEY}", size_b=20),))),
    ("a pack is HEAD", lambda: manifest(packs=(Pack(key=f"jobs/{JOB}/HEAD", size_b=20),))),
    ("the job is none", lambda: manifest(job="../x")),
    ("the attempt is negative", lambda: manifest(attempt=-1)),
    ("the step is negative", lambda: manifest(step=-1)),
    ("the incarnation is a path", lambda: manifest(incarnation="a/b")),
    ("the parent is no digest", lambda: manifest(parent="abc")),
    ("the format is newer", lambda: manifest(format=2)),
]


@pytest.mark.parametrize(("_why", "build"), HOSTILE, ids=[why for why, _ in HOSTILE])
def test_a_hostile_manifest_is_refused(_why: str, build: Callable[[], Manifest]) -> None:
    with pytest.raises(CheckpointError):
        decode_manifest(encode_manifest(build()))


def test_two_manifests_that_lay_down_the_same_have_the_same_outline() -> None:
    other = hashlib.sha256(b"y").hexdigest()
    one = manifest(entry(), entry("d", kind="dir"), seq=1)
    moved = manifest(
        entry(pieces=(Piece(0, 5, 10, DIGEST),)), entry("d", kind="dir", mtime_ns=9), seq=2
    )
    assert one.outline == moved.outline
    changes: list[dict[str, Any]] = [
        {"mode": 0o600},
        {"mtime_ns": 2},
        {"pieces": (Piece(0, 0, 10, other),)},
    ]
    for change in changes:
        assert manifest(entry(**change), entry("d", kind="dir")).outline != one.outline
    assert manifest(entry()).outline != one.outline


def test_a_newer_format_is_told_apart_from_damage() -> None:
    with pytest.raises(CheckpointError) as caught:
        decode_manifest(encode_manifest(manifest(format=2)))
    assert "upgrade" in caught.value.mend


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"format":1}',
        b" " + encode_manifest(manifest()),
        encode_manifest(manifest())[:-1] + b',"more":1}',
        encode_manifest(manifest()).replace(b'"mode":420', b'"mode":"420"'),
        encode_manifest(manifest()).replace(b'"mode":420', b'"mode":420.0'),
    ],
)
def test_bytes_that_are_no_canonical_manifest_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        decode_manifest(data)


@given(st.data())
def test_a_manifest_with_one_changed_byte_is_another_or_none(data: st.DataObject) -> None:
    good = encode_manifest(manifest(entry(), entry("l", kind="symlink", target="t")))
    at = data.draw(st.integers(0, len(good) - 1))
    bad = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    try:
        found = decode_manifest(bad)
    except CheckpointError:
        return
    assert encode_manifest(found) == bad
    assert manifest_id(bad) != manifest_id(good)


@given(
    st.lists(
        st.binary(min_size=1, max_size=40).filter(
            lambda part: b"/" not in part and b"\0" not in part and part not in {b".", b".."}
        ),
        min_size=1,
        max_size=4,
    )
)
def test_every_name_that_a_file_system_can_hold_is_spelled_and_read_back(
    parts: list[bytes],
) -> None:
    name = b"/".join(parts).decode("utf-8", "surrogateescape")
    text = spell(name)
    assert msgspec.json.decode(msgspec.json.encode(text)) == text
    assert name_fault(text) == ""
    assert unspell(text) == name


@given(st.text(max_size=30))
def test_no_text_crashes_the_check_of_names_and_what_passes_is_spelled_in_one_way(
    text: str,
) -> None:
    if not name_fault(text):
        assert spell(unspell(text)) == text
        assert all(part not in {"", ".", ".."} for part in unspell(text).split("/"))


def test_a_content_digest_depends_on_order() -> None:
    one, two = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    assert chain_digest([one, two]) != chain_digest([two, one])
