"""Which files still are the job's code as it was sent, and so need not go into a checkpoint."""

import hashlib
from pathlib import Path

from vaultlayer.checkpoint.manifest import FileEntry, Manifest
from vaultlayer.checkpoint.names import spell, unspell
from vaultlayer_agent.capture.tree import Entry, Tree


class Code:
    """The code manifest, asked file by file.

    Size and time decide; where only the time differs, the digest does, once per version of the file.
    """

    def __init__(self, manifest: Manifest | None) -> None:
        files = manifest.files if manifest else ()
        self._files = {(entry.root, unspell(entry.name)): entry for entry in files}
        self._judged: dict[tuple[str, str], tuple[Entry, bool]] = {}

    def holds(self, root: str, name: str) -> bool:
        """Whether the code has a file of that name, changed or not."""
        return (root, name) in self._files

    def has_below(self, root: str, directory: str) -> bool:
        """Whether any of the code's files lies below a directory."""
        start = f"{directory}/"
        return any(place == root and name.startswith(start) for place, name in self._files)

    def strip(self, root: str, tree: Tree, place: Path) -> Tree:
        """Give the tree without what still is code; reads files of code whose time has changed."""
        if not self._files:
            return tree
        return {
            name: entry
            for name, entry in tree.items()
            if not self._is_code(root, name, entry, place / name)
        }

    def _is_code(self, root: str, name: str, entry: Entry, path: Path) -> bool:
        sent = self._files.get((root, name))
        if sent is None or sent.kind != entry.kind:
            return False
        if entry.kind == "dir":
            return True
        if entry.kind == "symlink":
            return _target_of(path) == sent.target
        if sent.size_b != entry.size_b:
            return False
        if sent.mtime_ns == entry.mtime_ns:
            return True
        known = self._judged.get((root, name))
        if known is None or known[0] != entry:
            known = (entry, _is_same(path, sent))
            self._judged[root, name] = known
        return known[1]


def _target_of(path: Path) -> str:
    try:
        return spell(str(path.readlink()))
    except OSError:
        return ""


def _is_same(path: Path, sent: FileEntry) -> bool:
    try:
        with path.open("rb") as file:
            return all(
                hashlib.sha256(file.read(piece.length_b)).hexdigest() == piece.sha256
                for piece in sent.pieces
            )
    except OSError:
        return False
