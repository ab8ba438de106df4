"""Tensors that set-up made and training never touches: hashed instead of saved.

Set-up is what runs before the first call that a replay skips, so a replay computes them for real. "Never
touched" is the version counter's word, which writes through `.data` do not move; so each snapshot hashes
them again in the background, and one that has changed is saved from then on.
"""

import gc
import hashlib
import weakref

from vaultlayer_hooks.ghost.live import of_kind
from vaultlayer_hooks.ghost.state import run
from vaultlayer_hooks.ghost.vls import CHUNK_B, tensor_memory

SMALL_B = 1 << 20


class Unsteady(Exception):
    """What was taken for a constant is none."""


class Constants:
    """The base line: what was alive when set-up ended."""

    def __init__(self):
        self._known = {}
        self._moving = set()
        self._digests = {}

    def take(self):
        """Take the base line now."""
        tensor = run.torch.Tensor
        for value in of_kind(gc.get_objects(), tensor):
            if not value.requires_grad:
                try:
                    self._known[id(value)] = (weakref.ref(value), value._version)
                except (TypeError, RuntimeError):
                    continue

    def holds(self, tensor):
        """Whether a tensor was there when set-up ended and has not been written to since."""
        entry = self._known.get(id(tensor))
        return (
            entry is not None
            and entry[0]() is tensor
            and not tensor.requires_grad
            and entry[1] == tensor._version
        )

    def may_hash(self, tensor, path):
        """Whether hashing a tensor may take the place of saving it."""
        if path in self._moving or tensor.untyped_storage().nbytes() <= SMALL_B:
            return False
        return self.holds(tensor)

    def check_steady(self, tensor, path, found):
        """Compare a hash with that of the snapshot before; what has changed is never hashed again.

        Raises:
            Unsteady: it has changed without a trace in its version counter, or while it was hashed.
        """
        if not self.holds(tensor):
            raise Unsteady("%s has changed while it was hashed; it is saved from now on" % path)
        if self._digests.setdefault(path, found) != found:
            self._moving.add(path)
            raise Unsteady("%s changes unseen; it is saved from now on" % path)

    def forget(self, tensor):
        """Note that a tensor has been restored, so it is not what set-up made."""
        self._known.pop(id(tensor), None)


def digest(storage, breathe=lambda _: None):
    """Give the hash of a storage's bytes, wherever it lies."""
    torch = run.torch
    whole = torch.empty(0, dtype=torch.uint8, device=storage.device)
    whole.set_(storage, 0, (storage.nbytes(),), (1,))
    found = hashlib.blake2b(digest_size=16)
    for at in range(0, storage.nbytes(), CHUNK_B):
        piece = whole[at : at + CHUNK_B].cpu()
        found.update(tensor_memory(piece))
        breathe(piece.numel())
    return found.hexdigest()
