"""Files of a checkpoint that were fetched before it is known where, or whether, they are needed.

Below the directory: `files/<content digest>` and `manifests/<id>.json`, which tells what pieces those
files hold, so that a later checkpoint fetches only what changed.
"""

from pathlib import Path

from vaultlayer.checkpoint.fill import Local
from vaultlayer.checkpoint.manifest import (
    FileEntry,
    Manifest,
    decode_manifest,
    encode_manifest,
    manifest_id,
)
from vaultlayer.checkpoint.placing import disk_errors, holds
from vaultlayer.checkpoint.source import Identity, identity_of
from vaultlayer.errors import CheckpointError


class FileCache:
    """One cache directory. In one process it remembers what it wrote, and need not read it again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written: dict[str, Identity] = {}
        with disk_errors(path):
            self._files.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._manifests.mkdir(parents=True, exist_ok=True, mode=0o700)

    @property
    def _files(self) -> Path:
        return self.path / "files"

    @property
    def _manifests(self) -> Path:
        return self.path / "manifests"

    def place(self, entry: FileEntry) -> Path:
        """Give where a file's content lies, or would lie."""
        return self._files / entry.digest

    def has(self, entry: FileEntry) -> bool:
        """Tell whether the content is here, whole; reads it unless this process wrote it."""
        path = self.place(entry)
        try:
            identity = identity_of(path.lstat())
        except OSError:
            return False
        return self._written.get(entry.digest) == identity or holds(
            path, entry.size_b, entry.pieces
        )

    def wrote(self, entry: FileEntry) -> None:
        """Remember a file that was verified piece by piece while it was written."""
        self._written[entry.digest] = identity_of(self.place(entry).lstat())

    def pieces(self) -> dict[str, Local]:
        """Give where each piece lies, by digest; each is verified when it is used."""
        found: dict[str, Local] = {}
        for path in sorted(self._manifests.glob("*.json")):
            try:
                manifest = decode_manifest(path.read_bytes(), str(path))
            except (OSError, CheckpointError):
                continue
            for entry in manifest.files:
                found.update(self._pieces_of(entry))
        return found

    def _pieces_of(self, entry: FileEntry) -> dict[str, Local]:
        path = self.place(entry)
        if not entry.pieces or not path.exists():
            return {}
        found: dict[str, Local] = {}
        offset = 0
        for piece in entry.pieces:
            found[piece.sha256] = Local(path, offset)
            offset += piece.length_b
        return found

    def settle(self, manifest: Manifest) -> None:
        """Note that this manifest's files are here, and drop what it does not name."""
        data = encode_manifest(manifest)
        note = self._manifests / f"{manifest_id(data)}.json"
        wanted = {entry.digest for entry in manifest.files if entry.kind == "file"}
        with disk_errors(note, len(data)):
            draft = note.with_suffix(".tmp")
            draft.write_bytes(data)
            draft.replace(note)
            for old in list(self._manifests.iterdir()):
                if old != note:
                    old.unlink()
            for file in list(self._files.iterdir()):
                if file.name not in wanted:
                    file.unlink()
