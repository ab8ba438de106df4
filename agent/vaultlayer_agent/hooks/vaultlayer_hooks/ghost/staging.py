"""Copies storages to host memory, from a GPU by a stream of its own into pinned memory that is used again.

The script's stream waits for that stream before it goes on, so nothing is written to before it is copied; the
processor does not wait, and queues the next steps meanwhile. Who writes the snapshot waits for the copies.

Where the script has streams of its own, or memory that a GPU may be writing to, the snapshot waits, before
the copies and after them: nobody else knows whose work is under way there.
"""

import contextlib
import functools

from vaultlayer_hooks.ghost.state import run

_script = {"streams": False}


def patch(torch):
    """Learn of the script's own streams; give up where it captures a CUDA graph, whose work nobody sees."""
    made = torch.cuda.Stream.__new__

    @functools.wraps(made)
    def __new__(cls, *args, **kwargs):
        _script["streams"] = True
        return made(cls, *args, **kwargs)

    torch.cuda.Stream.__new__ = __new__
    capture = torch.cuda.CUDAGraph.capture_begin

    @functools.wraps(capture)
    def capture_begin(self, *args, **kwargs):
        if run.is_ours():
            run.give_up("the script captures a CUDA graph, whose work a replay could not skip")
        return capture(self, *args, **kwargs)

    torch.cuda.CUDAGraph.capture_begin = capture_begin


class Staging:
    """The host memory of snapshots, and the streams that fill it.

    Args:
        pinned: kinds of device whose copies go to memory that is kept and used again.
    """

    def __init__(self, pinned=("cuda",)):
        self._pinned = pinned
        self._free = {}
        self._lent = set()
        self._lanes = {}
        self._landed = []
        self._settled = False

    def copy(self, storage):
        """Begin to copy a storage's bytes; they are there after `land`."""
        torch = run.torch
        self._settle(storage)
        whole = torch.empty(0, dtype=torch.uint8, device=storage.device)
        whole.set_(storage, 0, (storage.nbytes(),), (1,))
        host = self._host(storage.nbytes(), storage.device.type in self._pinned)
        with self._lane(storage.device):
            host.copy_(whole, non_blocking=True)
        return host

    def _settle(self, storage):
        """Wait once for each device, where another stream than the current one may be writing."""
        if self._settled or not run.on_gpu:
            return
        unwaited = storage.device.type == "cpu" and storage.is_pinned()
        if _script["streams"] or unwaited:
            self._settled = True
            _wait_for_devices(run.torch.cuda)

    def _host(self, size_b, is_pinned):
        torch = run.torch
        if not is_pinned:
            return torch.empty(size_b, dtype=torch.uint8)
        free = self._free.get(size_b)
        host = free.pop() if free else _pinned_memory(torch, size_b)
        self._lent.add(id(host))
        return host

    def _lane(self, device):
        if device.type != "cuda":
            return contextlib.nullcontext()
        torch = run.torch
        stream = self._lanes.get(device.index)
        if stream is None:
            others = _script["streams"]
            stream = self._lanes[device.index] = torch.cuda.Stream(device)
            _script["streams"] = others
        stream.wait_stream(torch.cuda.current_stream(device))
        return torch.cuda.stream(stream)

    def join(self):
        """Let what the script does next on each GPU come after the copies."""
        torch = run.torch
        for index, stream in self._lanes.items():
            torch.cuda.current_stream(index).wait_stream(stream)
            self._landed.append(stream.record_event())
        if self._settled:
            self._settled = False
            self.land()

    def land(self):
        """Wait until all copies are there; for the thread that writes them."""
        landed, self._landed = self._landed, []
        for event in landed:
            event.synchronize()

    def give_back(self, copies):
        """Take memory back that has been written."""
        for host in copies:
            if id(host) in self._lent:
                self._lent.discard(id(host))
                self._free.setdefault(host.numel(), []).append(host)

    def own(self):
        """Give the ids of tensors that are ours."""
        return [id(host) for free in self._free.values() for host in free]


def _wait_for_devices(cuda):
    if cuda.is_initialized():
        for index in range(cuda.device_count()):
            cuda.synchronize(index)


def _pinned_memory(torch, size_b):
    """Give pinned memory, or such as there is where the machine has no more of it."""
    try:
        return torch.empty(size_b, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    except RuntimeError:
        return torch.empty(size_b, dtype=torch.uint8)
