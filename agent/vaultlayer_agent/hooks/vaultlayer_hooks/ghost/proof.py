"""Proves a snapshot before it is announced: its boundary was safe, and what was relied on has held.

From the copy to the next snapshot every tensor with a graph is watched. A backward pass through one means
that the graph was still needed, so no other snapshot is taken at that place; and this one is void, if it has
not been announced. Where it has, a replay ends as soon as it goes through what it has made of that graph.
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
        self._key = None
        self._handles = []
        self._until = 0
        self._deadline = 0.0
        self.void = None

    def watch(self, shot):
        """Begin to watch."""
        self._forget()
        self._shot, self._key = shot, shot.key
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
        boundary.ban(self._key)
        if self._shot is not None and self.void is None:
            self.void = "a backward pass went through a graph that was older than the boundary"

    def _forget(self):
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def gradients_kept(self, index):
        """Gradients that were always cleared have not been cleared."""
        if self._shot is not None and self._shot.relied and self.void is None:
            self.void = "the gradients of optimizer %d were kept over the boundary" % index

    def is_over(self):
        """Whether the tail of steps is long enough."""
        return run.steps >= self._until or time.perf_counter() >= self._deadline

    def end(self):
        """Stop watching; give the reason why the snapshot is void, or None."""
        self._shot = None
        void, self.void = self.void, None
        if void is not None:
            self._forget()
        return void

    def guard(self, tensors):
        """End this attempt when a backward pass goes through what a replay has made of an old graph."""
        for tensor in tensors:
            if tensor.grad_fn is not None:
                tensor.grad_fn.register_prehook(_of_stand_ins)


def _of_stand_ins(*_grads):
    run.diverge("a backward pass goes through a graph that is older than the snapshot")
