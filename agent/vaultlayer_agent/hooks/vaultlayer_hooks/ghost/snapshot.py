"""Takes a snapshot: looks, copies, and leaves the writing to a thread."""

import _thread
import gc
import os
import sys
import time

from vaultlayer_hooks.ghost import (
    addresses,
    boundary,
    caches,
    environ,
    held,
    leaves,
    live,
    loaders,
    memory,
    optimizers,
    rng,
    serialized,
    sparse,
    specs,
    temporary,
    threads,
    values,
    vls,
)
from vaultlayer_hooks.ghost.constants import digest
from vaultlayer_hooks.ghost.state import Diverged, run
from vaultlayer_hooks.ghost.walk import TooMuch, Walk

GRADS_SAVED_B = 64 << 20
WRITE_B_S = 400e6
UNDISTURBED_S = 60.0


class Void(Exception):
    """This snapshot cannot be taken, for the reason given."""


class Shot:
    """One snapshot on its way to the disk."""

    def __init__(self, number, key):
        self.number = number
        self.key = key
        self.step = run.steps
        self.events = 0
        self.index = {}
        self.state = ()
        self.copies = []
        self.constants = []
        self.stall_ms = 0.0
        self.size_b = 0
        self.state_b = 0
        self.log_b = 0
        self.done = _thread.allocate_lock()
        self.failure = None
        self.written = False
        self.graph = []
        self.relied = []
        self.marks = None


class Look:
    """Everything that belongs to the state at a boundary, found and named."""

    def __init__(self, frame, result):
        interval_s = sys.getswitchinterval()
        # A batch that a loader's thread passes on between two looks would be found in neither place.
        sys.setswitchinterval(UNDISTURBED_S)
        try:
            self._find(frame, result)
        finally:
            sys.setswitchinterval(interval_s)

    def _find(self, frame, result):
        self.walk = Walk()
        self.walk.skipped = loaders.skipped_ids()
        try:
            self.walk.all(frame)
            self.walk.root("result", result, "user")
        except TooMuch as reason:
            raise Void(str(reason)) from None
        self.own = own_tensors()
        missing = live.unreached(self.walk, self.own)
        self.unreached = live.held_by_python(missing, self.walk) if missing else []
        self.graph = [t for t, _ in self.walk.tensors.values() if t.grad_fn is not None]
        self.graph += [t for t in missing if t.grad_fn is not None]


def look_again(frame, result):
    """Look at everything, and once more without what is garbage already if something cannot be named."""
    # What died lately costs a millisecond to sweep; found as unreached it would cost five looks.
    gc.collect(1)
    found = Look(frame, result)
    if found.unreached:
        del found
        gc.collect()
        found = Look(frame, result)
    return found


def own_tensors():
    """Give the ids of tensors that are ours, or that loaders' iterators will fetch again."""
    ids = {id(t) for t in specs.ghost_tensors()}
    ids.update(run.pulse.own())
    ids.update(run.staging.own())
    ids.update(held.held_ids())
    ids.update(leaves.held_ids())
    return ids


def look(frame, result):
    """Look at everything.

    Raises:
        Void: something alive cannot be named.
    """
    if run.on_gpu and (kind := boundary.hides_dropout()):
        raise Void(
            "cuDNN keeps the random state of an %s's dropout to itself (torch.backends.cudnn.enabled"
            " = False, or no dropout between its layers, would make it exact)" % kind
        )
    found = look_again(frame, result)
    if holder := threads.holder(found.walk, found.own):
        raise Void(holder)
    if found.unreached:
        tensor = found.unreached[0]
        raise Void(
            "unreachable tensor %s %s on %s"
            % (str(tensor.dtype)[6:], list(tensor.shape), tensor.device)
        )
    return found


def take(shot, frame, result):
    """Copy everything; the script stands still meanwhile.

    Raises:
        Void: the state cannot be saved whole.
    """
    began = time.perf_counter()
    found = look(frame, result)
    if shot.marks is not None and run.files.marks() != shot.marks:
        raise Void(
            "another thread has written to a file of the job's since its image was asked for"
        )
    shot.graph = found.graph
    gather = _Gather(found.walk, shot)
    try:
        gather.all()
        clusters = memory.clusters(found.walk, gather.storages)
        kept = serialized.kept()
    except (Void, Diverged, memory.Shared) as reason:
        run.staging.give_back(gather.memories)
        raise Void(str(reason)) from None
    finally:
        run.staging.join()
    shot.index = {
        "number": shot.number,
        "step": shot.step,
        "events": run.writer.count,
        "place": shot.key,
        "fingerprint": run.fingerprint,
        "imported": run.imported.see(),
        "tensors": gather.tensors,
        "constants": gather.constants,
        "sparse": sparse.forms(found.walk),
        "again": found.walk.again,
        "segments": run.segments_b,
    }
    shot.state = (
        rng.small_state(),
        rng.torch_state(),
        values.kept(found.walk),
        tuple((path, rng.stream_state(v), o) for v, path, o in found.walk.streams.values()),
        tuple((path, *_array(v), o) for v, path, o in found.walk.arrays.values() if _small(v)),
        _optimizer_forms(),
        loaders.positions(),
        run.files.open_files(),
        clusters,
        kept,
        temporary.names(),
        addresses.named(found.walk),
        caches.state(found.walk),
        environ.changes(),
    )
    shot.events = run.writer.count
    shot.state_b = sum(m.numel() for m in gather.memories)
    shot.copies = gather.memories
    shot.stall_ms = (time.perf_counter() - began) * 1e3


def _small(array):
    return not array.dtype.hasobject


def _array(array):
    return (array.dtype.str, array.shape, array.tobytes())


def _optimizer_forms():
    forms = []
    for index, optimizer in boundary.optimizers():
        params = boundary.parameters_of(optimizer)
        form = []
        for number, p in enumerate(params):
            state = optimizer.state.get(p)
            if state is not None:
                try:
                    form.append((number, tuple((k, specs.spec(v)) for k, v in state.items())))
                except specs.Unknown as kind:
                    raise Void("optimizer state of an unknown kind: %s" % kind) from None
        forms.append((index, len(params), tuple(form), optimizers.looks_of(optimizer)))
    return tuple(forms)


class _Gather:
    """Sorts the tensors of a walk by storage, and copies what has to be saved."""

    def __init__(self, walk, shot):
        self._walk = walk
        self._shot = shot
        self._numbers = {}
        self.storages = {}
        self.tensors = []
        self.memories = []
        self.constants = []
        self._relied = relied_gradients()

    def all(self):
        """Take every tensor."""
        for tensor, paths in self._walk.tensors.values():
            if id(tensor) in self._relied and is_gradient_only(paths):
                self._shot.relied.append(tensor)
                continue
            if id(tensor) in self._walk.sparse:
                continue
            if tensor.layout is not run.torch.strided or tensor.is_quantized:
                raise Void("a tensor of layout %s at %s" % (tensor.layout, paths[0]))
            plain = type(tensor) in (run.torch.Tensor, run.torch.nn.Parameter)
            if not plain and _is_wrapper(tensor):
                raise Void("a tensor of type %s at %s" % (type(tensor).__name__, paths[0]))
            if tensor.device.type != "meta":
                self._add(tensor, paths)

    def _add(self, tensor, paths):
        storage = tensor.untyped_storage()
        key = (str(tensor.device), storage.data_ptr(), storage.nbytes())
        number = self._numbers.get(key)
        if number is None or not storage.nbytes():
            number = self._numbers[key] = self._storage(tensor, storage, paths[0])
            self.storages[number] = storage
        self.tensors.append(
            {
                "paths": paths,
                "dtype": str(tensor.dtype)[6:],
                "device": str(tensor.device),
                "shape": list(tensor.shape),
                "stride": list(tensor.stride()),
                "offset": tensor.storage_offset(),
                "requires_grad": tensor.requires_grad,
                "leaf": tensor.is_leaf,
                "storage": number,
                "shared": storage.device.type == "cpu" and storage.is_shared(),
            }
        )

    def _storage(self, tensor, storage, path):
        """Give the number of a storage; of one that set-up rebuilds, the negative number of its hash."""
        if run.constants.may_hash(tensor, path):
            self.constants.append({"path": path, "size": storage.nbytes(), "digest": ""})
            self._shot.constants.append((tensor, storage))
            return -len(self.constants)
        copied = run.staging.copy(storage)
        self.memories.append(copied)
        return len(self.memories) - 1


def _is_wrapper(tensor):
    try:
        return hasattr(tensor, "__tensor_flatten__") or tensor.untyped_storage().data_ptr() == 0
    except RuntimeError:
        return True


def is_gradient_only(paths):
    """Whether a tensor is reached as a gradient and by no other name."""
    return all(path.endswith(".grad") for path in paths)


def relied_gradients():
    """Give the ids of gradients that need not, or cannot, be saved, since they are always cleared first."""
    relied, sparse = {}, {}
    for index, optimizer in boundary.optimizers():
        if not boundary.keeps_gradients(index):
            for p in boundary.parameters_of(optimizer):
                if p.grad is not None:
                    known = relied if p.grad.layout is run.torch.strided else sparse
                    known[id(p.grad)] = p.grad.numel() * p.grad.element_size()
    return {**relied, **sparse} if sum(relied.values()) > GRADS_SAVED_B else sparse


def write_in_background(shot, directory):
    """Write a snapshot from a thread of its own; `done` is free when it has ended."""
    shot.done.acquire()
    _thread.start_new_thread(_write, (shot, directory, os.getpid()))


def _write(shot, directory, pid):
    try:
        if run.pid != pid:
            return
        breathe = _Breather()
        run.staging.land()
        for number, (tensor, storage) in enumerate(shot.constants):
            entry = shot.index["constants"][number]
            entry["digest"] = digest(storage, breathe)
            run.constants.check_steady(tensor, entry["path"], entry["digest"])
        path = os.path.join(directory, vls.snapshot_name(shot.number))
        memories = [vls.tensor_memory(copied) for copied in shot.copies]
        shot.size_b = vls.write(path, shot.index, shot.state, memories, breathe)
        shot.written = True
    except Exception as failure:
        shot.failure = "%s: %s" % (type(failure).__name__, failure)
    finally:
        run.staging.give_back(shot.copies)
        shot.copies, shot.constants = [], []
        shot.done.release()


class _Breather:
    """Keeps the background's pace down, so that the script has the processor and the disk to itself."""

    def __call__(self, size_b):
        time.sleep(size_b / WRITE_B_S)
