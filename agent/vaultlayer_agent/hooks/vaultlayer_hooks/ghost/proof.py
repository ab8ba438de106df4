"""Proves a snapshot before it is announced: its boundary was safe, and what was relied on has held.

For a while after the copy, every tensor with a graph is watched: a backward pass through one means that the
graph was still needed, so the snapshot is void and no other is taken at that place.
"""

import time

from vaultlayer_hooks.ghost import boundary
from vaultlayer_hooks.ghost.state import run

TAIL_STEPS = 8
TAIL_S = 5.0


class Proof:
    """Watches over at most one snapshot."""

    def __init__(self):
        self._shot = None
        self._handles = []
        self._until = 0
        self._deadline = 0.0
        self.void = None

    def watch(self, shot):
        """Begin to watch."""
        self._shot = shot
        self.void = None
        self._until = run.steps + TAIL_STEPS
        self._deadline = time.perf_counter() + TAIL_S
        for tensor in shot.graph:
            try:
                self._handles.append(tensor.grad_fn.register_prehook(self._used))
            except Exception:
                self.void = "a graph cannot be watched"
        shot.graph = []

    def _used(self, *_grads):
        if self._shot is not None and self.void is None:
            self.void = "a backward pass went through a graph that was older than the boundary"
            boundary.ban(self._shot.key)

    def gradients_kept(self, index):
        """Gradients that were always cleared have not been cleared."""
        if self._shot is not None and self._shot.relied and self.void is None:
            self.void = "the gradients of optimizer %d were kept over the boundary" % index

    def is_over(self):
        """Whether the tail of steps is long enough."""
        return run.steps >= self._until or time.perf_counter() >= self._deadline

    def end(self):
        """Stop watching; give the reason why the snapshot is void, or None."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._shot = None
        void, self.void = self.void, None
        return void
