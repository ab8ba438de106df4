"""The manifest: which files a checkpoint holds, and in which packs their bytes lie. Pure.

A manifest is read from a bucket that a rented machine could write to, so nothing in it is believed:
`decode_manifest` checks every name, number and reference before anybody acts on one.
"""

import hashlib
import re
from collections.abc import Iterable

import msgspec

from vaultlayer.checkpoint.names import name_fault, target_fault
from vaultlayer.errors import CheckpointError
from vaultlayer.ids import is_job_id

FORMAT = 1
PIECE_MOST_B = 16 * 1024 * 1024
PACK_MOST_B = 64 * 1024 * 1024
MANIFEST_MOST_B = 64 * 1024 * 1024

KINDS = ("file", "dir", "symlink")
_HEX = re.compile(r"[0-9a-f]{64}\Z")
_ROOT = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_INCARNATION = re.compile(r"[a-z0-9]{0,32}\Z")
_PACK = re.compile(
    r"(?:[^/]+/)*jobs/(j[2-9a-z]{9})/(?:code|a[1-9][0-9]*-[a-z0-9]+)/packs/([0-9a-f]{64})\Z"
)
_TIME_MOST_NS = 2**63 - 1


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """A run of a file's bytes: `length_b` bytes at `offset_b` of pack number `pack`."""

    pack: int
    offset_b: int
    length_b: int
    sha256: str


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file, directory or symbolic link. `name` and `target` are spelled (checkpoint/names.py)."""

    root: str
    name: str
    kind: str
    mode: int
    mtime_ns: int
    size_b: int
    pieces: tuple[Piece, ...]
    target: str

    @property
    def digest(self) -> str:
        """What the content is called: SHA-256 over the pieces' digests, in order."""
        return chain_digest(piece.sha256 for piece in self.pieces)


class Pack(msgspec.Struct, frozen=True, kw_only=True):
    """One object in the bucket."""

    key: str
    size_b: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint, or a job's code (attempt 0, incarnation empty, seq 0)."""

    format: int
    job: str
    attempt: int
    incarnation: str
    seq: int
    step: int | None
    parent: str
    created_ms: int
    files: tuple[FileEntry, ...]
    packs: tuple[Pack, ...]
    meta: dict[str, str]

    @property
    def size_b(self) -> int:
        """Bytes of all files, as if nothing were shared."""
        return sum(entry.size_b for entry in self.files)

    @property
    def outline(self) -> tuple[tuple[object, ...], ...]:
        """What a restore would lay down, whatever packs hold it; directories' own times left out."""
        return tuple(
            (
                entry.root,
                entry.name,
                entry.kind,
                entry.mode,
                0 if entry.kind == "dir" else entry.mtime_ns,
                entry.size_b,
                entry.digest,
                entry.target,
            )
            for entry in self.files
        )

    @property
    def pack_sizes(self) -> dict[str, int]:
        """Size of each pack by key: what `verify` takes as known."""
        return {pack.key: pack.size_b for pack in self.packs}


def chain_digest(digests: Iterable[str]) -> str:
    """Give the SHA-256 over a sequence of SHA-256 digests: the name of a pack or of a file's content."""
    total = hashlib.sha256()
    for digest in digests:
        total.update(bytes.fromhex(digest))
    return total.hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    """Give the canonical bytes: JSON, keys sorted, no spaces."""
    return msgspec.json.encode(manifest, order="sorted")


def manifest_id(data: bytes) -> str:
    """Give the checkpoint's id: the SHA-256 of the manifest's bytes."""
    return hashlib.sha256(data).hexdigest()


def manifest_key(prefix: str, identity: str) -> str:
    """Give the key of a manifest below an attempt's prefix (`ids.prefix_of`) or `jobs/<job>/code/`."""
    return f"{prefix}manifests/{identity}.json"


def pack_key(prefix: str, name: str) -> str:
    """Give the key of a pack below the prefix that it was written under."""
    return f"{prefix}packs/{name}"


def decode_manifest(data: bytes, what: str = "the manifest") -> Manifest:
    """Read and check a manifest.

    Args:
        data: bytes from the bucket, believed in nothing.
        what: how to call it in an error, best its key.

    Raises:
        CheckpointError: it is not canonical, of a newer format, or contradicts itself.
    """
    fault = ""
    if len(data) > MANIFEST_MOST_B:
        raise CheckpointError(f"{what} cannot be used", why=f"it is {len(data)} bytes long")
    try:
        version = msgspec.json.decode(data, type=_Version)
        if version.format != FORMAT:
            raise CheckpointError(
                f"{what} cannot be used",
                why=f"its format is {version.format}, this version reads {FORMAT}",
                mend="upgrade vaultlayer on this machine",
            )
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{what} cannot be used", why=f"it is no manifest: {error}") from None
    if encode_manifest(manifest) != data:
        fault = "it is not in canonical form"
    fault = fault or _head_fault(manifest) or _packs_fault(manifest) or _files_fault(manifest)
    if fault:
        raise CheckpointError(f"{what} cannot be used", why=fault)
    return manifest


class _Version(msgspec.Struct):
    format: int


def _head_fault(manifest: Manifest) -> str:
    if not is_job_id(manifest.job):
        return "its job is no job id"
    if min(manifest.attempt, manifest.seq, manifest.created_ms) < 0 or (manifest.step or 0) < 0:
        return "a number in it is negative"
    if not _INCARNATION.match(manifest.incarnation):
        return "its incarnation is malformed"
    if manifest.parent and not _HEX.match(manifest.parent):
        return "its parent is no digest"
    return ""


def _packs_fault(manifest: Manifest) -> str:
    seen: set[str] = set()
    for pack in manifest.packs:
        found = _PACK.match(pack.key)
        if not found or found[1] != manifest.job or not _is_plain(pack.key):
            return f"pack {pack.key!r} does not lie below jobs/{manifest.job}/"
        if pack.key in seen:
            return f"pack {pack.key} is named twice"
        if not 0 < pack.size_b <= PACK_MOST_B:
            return f"pack {pack.key} cannot be {pack.size_b} bytes long"
        seen.add(pack.key)
    return ""


def _is_plain(key: str) -> bool:
    return all(part not in {"", ".", ".."} for part in key.split("/"))


def _files_fault(manifest: Manifest) -> str:
    kinds: dict[tuple[str, str], str] = {}
    for entry in manifest.files:
        fault = _entry_fault(entry) or _pieces_fault(entry, manifest.packs)
        if fault:
            return f"{entry.root}:{entry.name!r}: {fault}"
        if (entry.root, entry.name) in kinds:
            return f"{entry.root}:{entry.name!r} is named twice"
        kinds[entry.root, entry.name] = entry.kind
    for root, name in kinds:
        parts = name.split("/")
        for end in range(1, len(parts)):
            if kinds.get((root, "/".join(parts[:end])), "dir") != "dir":
                return f"{root}:{name!r} lies below something that is no directory"
    return ""


def _entry_fault(entry: FileEntry) -> str:
    if not _ROOT.match(entry.root):
        return "its root is malformed"
    if entry.kind not in KINDS:
        return f"it is of no known kind ({entry.kind!r})"
    if fault := name_fault(entry.name):
        return fault
    if not 0 <= entry.mode <= 0o777:
        return "its mode is out of range"
    if not -_TIME_MOST_NS <= entry.mtime_ns <= _TIME_MOST_NS:
        return "its time is out of range"
    if entry.kind == "symlink":
        return target_fault(entry.target)
    return "only a link has a target" if entry.target else ""


def _pieces_fault(entry: FileEntry, packs: tuple[Pack, ...]) -> str:
    if entry.kind != "file" and (entry.pieces or entry.size_b):
        return "only a file has content"
    for piece in entry.pieces:
        if not 0 <= piece.pack < len(packs):
            return f"a piece names pack {piece.pack} of {len(packs)}"
        if not 0 < piece.length_b <= PIECE_MOST_B or piece.offset_b < 0:
            return "a piece has an impossible size or place"
        if piece.offset_b + piece.length_b > packs[piece.pack].size_b:
            return "a piece reaches beyond its pack"
        if not _HEX.match(piece.sha256):
            return "a piece has no digest"
    if sum(piece.length_b for piece in entry.pieces) != entry.size_b:
        return "its pieces do not add up to its size"
    return ""
