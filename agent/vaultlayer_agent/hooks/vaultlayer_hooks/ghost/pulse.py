"""A few numbers of every step, so that every loop has values that can disagree.

The loss at each backward pass, and after each step a few elements of one parameter, a different one each
time. On a GPU they are copied out without waiting for the device and written down two steps later.
"""

import ctypes
import os
from collections import deque

from vaultlayer_hooks.ghost import boundary, escapes, log
from vaultlayer_hooks.ghost.state import run

ELEMENTS = 4
LATE_STEPS = 2
KINDS = frozenset(("loss", "sample"))


class Pulse:
    """Samples what training computes."""

    def __init__(self):
        self._late = deque()
        self._arrays = {
            getattr(run.torch, name): (ctypes.sizeof(kind), [kind * n for n in range(ELEMENTS + 1)])
            for name, kind in (("float32", ctypes.c_float), ("float64", ctypes.c_double))
        }
        # Only tests ask for the way of a GPU without one.
        self._is_late = bool(os.environ.get("VAULTLAYER_GHOST_LATE"))

    def own(self):
        """Give the ids of tensors that are ours."""
        return [id(t) for _, t in self._late]

    def loss(self, tensors):
        """Note the loss of a backward pass that has just ended."""
        if not isinstance(tensors, run.torch.Tensor) or tensors.numel() != 1:
            return
        if tensors.is_cuda or self._is_late:
            self._sample("loss", tensors)
        else:
            log.note("loss", ("list", _read(tensors)))

    def gradient(self, tensors):
        """Note a few elements of a gradient that no optimizer and no backward pass has seen."""
        if tensors and tensors[0].numel():
            first = tensors[0]
            self._sample("sample", _elements(first, 0, min(ELEMENTS, first.numel())))

    def step(self, steps):
        """Note a sample after step number `steps`."""
        p, round_number = boundary.stepped_parameter(steps)
        count = p.numel() if p is not None else 0
        # Keras infers shapes with parameters that have no data.
        if count and not p.is_meta:
            at = round_number * ELEMENTS % count
            few = min(ELEMENTS, count - at)
            values = self._in_memory(p, at, few)
            if values is None:
                self._sample("sample", _elements(p.detach(), at, few))
            else:
                log.note("sample", ("list", values))
        while len(self._late) > 4 * LATE_STEPS:
            self._tell_late()

    def _in_memory(self, p, at, count):
        """Read elements where they lie, for a third of what a view costs; None where that is not safe."""
        width_b, arrays = self._arrays.get(p.dtype) or (0, ())
        plain = width_b and type(p) is run.torch.nn.Parameter and p.is_cpu and p.is_contiguous()
        if not plain or self._is_late:
            return None
        return arrays[count].from_address(p.data_ptr() + at * width_b)[:]

    def _sample(self, kind, tensor):
        if not tensor.is_cuda and not self._is_late:
            log.note(kind, ("list", _read(tensor)))
            return
        torch = run.torch
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        host.copy_(tensor.detach(), non_blocking=True)
        event = None
        if tensor.is_cuda:
            event = torch.cuda.Event()
            event.record()
        self._late.append(((kind, event), host))

    def _tell_late(self):
        (kind, event), host = self._late.popleft()
        if event is not None:
            event.synchronize()
        log.note(kind, ("list", _read(host)))

    def settle(self):
        """Write down what is on its way: a run that goes on from a snapshot has nothing on its way there."""
        while self._late:
            self._tell_late()


def _read(tensor):
    run.depth += 1
    try:
        return escapes.originals["tolist"](tensor)
    finally:
        run.depth -= 1


def _elements(tensor, at, count):
    """Give `count` elements from number `at` on; a view where the tensor allows one."""
    if tensor.is_contiguous():
        return tensor.as_strided((count,), (1,), tensor.storage_offset() + at)
    return tensor.flatten().narrow(0, at, count)
