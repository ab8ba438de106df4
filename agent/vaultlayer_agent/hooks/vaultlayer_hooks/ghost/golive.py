"""Ends a replay: puts the snapshot's tensors into the tensors that the replay has made, and proves the rest.

Tensors are restored in place, into the same Python objects, so every alias, closure, tuple and iterator that
holds one has the right one at once. Everything else that the script can reach must already be what it was:
plain values, arrays and private random streams are compared, and only what skipped calls may have changed
(modules, optimizers, loaders) is set.
"""

import gc
import time

from vaultlayer_hooks.ghost import (
    addresses,
    again,
    boundary,
    caches,
    calls,
    environ,
    loaders,
    memory,
    memos,
    optimizers,
    rng,
    samplers,
    serialized,
    snapshot,
    sparse,
    specs,
    temporary,
    threads,
    torchscript,
    values,
)
from vaultlayer_hooks.ghost.constants import digest
from vaultlayer_hooks.ghost.state import Diverged, run
from vaultlayer_hooks.ghost.vls import tensor_memory

THREADS_MOST_S = 60.0
QUEUES_MOST_S = 5.0
THREADS_EVERY_S = 0.05


def restore(reader, frame, result):
    """Put everything in place.

    Raises:
        Diverged: something is not what it was.
    """
    small, torch_state, plain_values, streams, arrays, forms, positions, *rest = reader.state
    files, clusters, kept, names, ids, cached, environment = rest
    temporary.translate_from(names)
    changed = run.imported.changed(reader.index["imported"])
    if changed:
        raise Diverged(changed)
    # Those of models that are gone by now would be found as tensors that nothing names.
    calls.forget_ghosts()
    _restore_optimizers(forms)
    torchscript.part([module for _, module in boundary.modules()])
    look = _look(frame, result)
    refilled = caches.refill(cached, look.walk)
    if memos.refill(reader.index["tensors"], look.walk) or refilled:
        # What it holds would be found as held by the script.
        del look
        look = snapshot.look_again(frame, result)
    saved, batches, late = (plain_values, streams, arrays, clusters), set(), []
    addresses.translate_from(ids, look.walk)
    walk = _put_all(reader, look, saved, batches, late)
    del look
    if _fill_loaders(positions):
        # Fetching again has changed once more what it had changed: counts, lists, tensors of a dataset.
        del walk
        walk = _put_all(reader, snapshot.look_again(frame, result), saved, batches)
    elif late:
        raise Diverged(late[0])
    values.finish_streams(walk, streams)
    rng.set_torch_state(torch_state)
    rng.set_small_state(small)
    run.files.put_image(files)
    serialized.put(kept)
    environ.put(temporary.translated(environment))
    run.proof.guard([tensor for tensor, _ in walk.tensors.values()])
    specs.forget_ghosts()
    samplers.forget()


def _look(frame, result):
    """Look at everything once no other thread holds anything, as none did at the snapshot.

    A replay is faster than what it replays: a thread that saves may not have come to its end, or not yet to
    what a queue holds for it.
    """
    began = time.perf_counter()
    is_still = False
    while True:
        look = snapshot.look_again(frame, result)
        holder = threads.holder(look.walk, look.own)
        waited_s = time.perf_counter() - began
        if holder and waited_s > THREADS_MOST_S:
            raise Diverged(holder)
        # One that ended meanwhile has left what the look had found.
        may_end = not is_still or (waited_s < QUEUES_MOST_S and threads.stacks())
        if not holder and not (look.unreached and may_end):
            return look
        is_still = not holder
        del look
        time.sleep(THREADS_EVERY_S)


def _put_all(reader, look, saved, batches, late=None):
    """Put back all tensors, values and arrays that a look has found; give its walk.

    `batches`: the addresses of the memory that has taken the place of a worker's, over all such calls.
    `late`: takes what only fetching again may bring about.
    """
    plain_values, streams, arrays, clusters = saved
    if look.unreached:
        raise Diverged("the replay made a tensor that the script cannot reach")
    walk = look.walk
    by_path = {path: t for t, paths in walk.tensors.values() for path in paths}
    held = {path for entry in reader.index["tensors"] for path in entry["paths"]}
    same = again.Again(reader.index["again"], held | plain_values.keys())
    tensors = _Tensors(reader, walk, by_path, same, batches)
    tensors.all()
    memory.rejoin(clusters, tensors.storages, walk, {path: data for path, _, _, data, _ in arrays})
    elsewhere = held.union(kept[0] for kept in (*arrays, *streams))
    values.restore(walk, plain_values, elsewhere, same, late)
    values.restore_streams(walk, streams)
    values.restore_arrays(walk, arrays)
    values.rejoin_arrays(walk, reader.index["again"])
    return walk


def _restore_optimizers(forms):
    """Give every optimizer the state's form, so that its tensors have a place to go to."""
    alive = dict(boundary.optimizers())
    numbers = [form[0] for form in forms]
    if sorted(alive) != numbers:
        # A snapshot knows none that is garbage.
        gc.collect()
        alive = dict(boundary.optimizers())
    if sorted(alive) != numbers:
        raise Diverged("other optimizers are alive than were")
    for index, count, form, looks in forms:
        optimizer = alive[index]
        optimizers.set_looks(optimizer, looks)
        params = boundary.parameters_of(optimizer)
        if len(params) != count:
            raise Diverged("optimizer %d has %d parameters, not %d" % (index, len(params), count))
        wanted = {number: dict(pairs) for number, pairs in form}
        for number, p in enumerate(params):
            if number not in wanted:
                optimizer.state.pop(p, None)
                continue
            _give_form(optimizer.state[p], wanted[number])


def _give_form(state, wanted):
    for name in [name for name in state if name not in wanted]:
        del state[name]
    for name, described in wanted.items():
        if name not in state or _spec_or_none(state[name]) != described:
            state[specs.interned(name)] = specs.ghost(described)


def _spec_or_none(value):
    try:
        return specs.spec(value)
    except specs.Unknown:
        return None


class _Tensors:
    """Restores the tensors of one snapshot."""

    def __init__(self, reader, walk, by_path, same, batches):
        self._reader = reader
        self._index = reader.index
        self._walk = walk
        self._by_path = by_path
        self._copies = self._find_copies(same)
        self._batches = batches
        self._done = set()
        self._ghosts = specs.ghost_pointers()
        self.storages = {}

    def all(self):
        """Restore every tensor.

        Raises:
            Diverged: the replay's tensors are not those that were saved.
        """
        groups = {}
        for entry in self._index["tensors"]:
            groups.setdefault(entry["storage"], []).append(entry)
        targets = {number: self._targets(entries) for number, entries in groups.items()}
        self._claim(targets)
        self._check_covered()
        users = self._storage_users()
        with run.torch.no_grad():
            for number, entries in groups.items():
                shared = any(entry["shared"] for entry in entries)
                is_batch = shared and self._is_batch(targets[number])
                storage = self._storage(number, entries, targets[number], users)
                if is_batch:
                    self._batches.add(storage.data_ptr())
                elif shared and not storage.is_shared():
                    raise Diverged(
                        "a tensor has left the shared memory: %s" % entries[0]["paths"][0]
                    )
                self.storages[number] = storage
                for entry, tensors in zip(entries, targets[number]):
                    for tensor in tensors:
                        self._put(tensor, entry, storage)
            sparse.rejoin(self._index["sparse"], self._by_path)

    def _is_batch(self, targets):
        """Whether no other process will look at this memory again: a worker has handed it over."""
        pointers = {t.untyped_storage().data_ptr() for same in targets for t in same}
        return pointers <= self._ghosts | self._batches

    def _targets(self, entries):
        """Give for each entry the tensors at its paths, each once."""
        found = []
        for entry in entries:
            tensors = {}
            for path in entry["paths"]:
                tensor = self._by_path.get(path)
                if tensor is None:
                    tensor = self._make_gradient(path, entry)
                for same in (tensor, *self._copies.get(path, ())):
                    tensors[id(same)] = same
            found.append(list(tensors.values()))
        return found

    def _find_copies(self, same):
        """Give `{recorded path: tensors}` of those that the replay alone has apart."""
        recorded = {path for entry in self._index["tensors"] for path in entry["paths"]}
        copies = {}
        for tensor, paths in self._walk.tensors.values():
            first = None if recorded.intersection(paths) else same.first(paths[0])
            if first in recorded:
                copies.setdefault(first, []).append(tensor)
        return copies

    def _make_gradient(self, path, entry):
        owner = self._by_path.get(path[: -len(".grad")]) if path.endswith(".grad") else None
        if owner is None:
            raise Diverged("a tensor is gone in the replay: %s" % path)
        torch = run.torch
        owner.grad = torch.zeros(
            entry["shape"], dtype=getattr(torch, entry["dtype"]), device=entry["device"]
        )
        self._by_path[path] = owner.grad
        self._walk.tensors[id(owner.grad)] = (owner.grad, [path])
        return owner.grad

    def _claim(self, targets):
        claimed = {}
        for number, lists in targets.items():
            for position, tensors in enumerate(lists):
                for tensor in tensors:
                    other = claimed.setdefault(id(tensor), (number, position))
                    if other != (number, position):
                        paths = self._walk.tensors[id(tensor)][1]
                        raise Diverged("two tensors have become one in the replay: %s" % paths[:2])
                    self._done.add(id(tensor))

    def _check_covered(self):
        """Every tensor that the script can reach must be restored, or be a gradient to be cleared."""
        relied = {id(p.grad) for _, o in boundary.optimizers() for p in boundary.parameters_of(o)}
        for tensor, paths in self._walk.tensors.values():
            known = id(tensor) in self._done or id(tensor) in self._walk.sparse
            if known or tensor.device.type == "meta":
                continue
            if id(tensor) in relied and snapshot.is_gradient_only(paths):
                # Whatever reads it before it is cleared shall be seen to be wrong.
                tensor.fill_(float("nan"))
                continue
            raise Diverged("a tensor is only in the replay: %s" % paths[0])

    def _storage_users(self):
        users = {}
        for tensor, _ in self._walk.tensors.values():
            if tensor.layout is run.torch.strided and tensor.device.type != "meta":
                storage = tensor.untyped_storage()
                pointer = (str(tensor.device), storage.data_ptr(), storage.nbytes())
                users.setdefault(pointer, set()).add(id(tensor))
        return users

    def _storage(self, number, entries, targets, users):
        """Give the storage that the tensors of one saved storage shall share."""
        torch = run.torch
        if number < 0:
            return self._constant(-number - 1)
        size_b = self._index["storages"][number]["size"]
        host = torch.empty(size_b, dtype=torch.uint8)
        self._reader.storage(number, tensor_memory(host))
        tensors = {id(t): t for same in targets for t in same}
        first = next(iter(tensors.values()))
        storage = first.untyped_storage()
        pointer = (str(first.device), storage.data_ptr(), storage.nbytes())
        fits = (
            str(first.device) == entries[0]["device"]
            and storage.nbytes() == size_b
            and storage.data_ptr() not in self._ghosts
            and users.get(pointer) == set(tensors)
        )
        if not fits:
            storage = torch.empty(size_b, dtype=torch.uint8, device=entries[0]["device"])
            storage = storage.untyped_storage()
        whole = torch.empty(0, dtype=torch.uint8, device=entries[0]["device"])
        whole.set_(storage, 0, (size_b,), (1,))
        # Memory that may not be written to, as a file mapped for reading, holds the right bytes already.
        if whole.device.type != "cpu" or not torch.equal(whole, host):
            whole.copy_(host)
        return storage

    def _constant(self, number):
        entry = self._index["constants"][number]
        tensor = self._by_path.get(entry["path"])
        if tensor is None:
            raise Diverged("a constant is gone in the replay: %s" % entry["path"])
        storage = tensor.untyped_storage()
        if storage.nbytes() != entry["size"] or digest(storage) != entry["digest"]:
            raise Diverged("what set-up computes is not the same again: %s" % entry["path"])
        return storage

    def _put(self, tensor, entry, storage):
        torch = run.torch
        dtype = getattr(torch, entry["dtype"])
        same = (
            tensor.dtype == dtype
            and list(tensor.shape) == entry["shape"]
            and list(tensor.stride()) == entry["stride"]
            and tensor.storage_offset() == entry["offset"]
            and tensor.untyped_storage().data_ptr() == storage.data_ptr()
        )
        if entry["storage"] >= 0:
            run.constants.forget(tensor)
        if not same:
            made = torch.empty(0, dtype=dtype, device=entry["device"])
            made.set_(storage, entry["offset"], entry["shape"], entry["stride"])
            tensor.data = made
        if tensor.requires_grad != entry["requires_grad"]:
            if not tensor.is_leaf:
                tensor.detach_()
            tensor.requires_grad_(entry["requires_grad"])


def _fill_loaders(positions):
    """Bring the open iterators to their places; give whether there were any."""
    wanted, filled = {number: rest for number, *rest in positions}, False
    for opened in loaders.alive():
        if opened.number in wanted:
            count, given = wanted.pop(opened.number)
            if opened.count != count:
                raise Diverged("a data loader is at another batch")
            filled = filled or opened.shell
            loaders.fill(opened, opened.count)
            if loaders.given(opened) != given:
                raise Diverged("a data loader does not give again what it gave")
    if wanted:
        raise Diverged("a data loader's iterator is gone in the replay")
    return filled


def elapsed_ms(began):
    """Give the milliseconds since `began`, of `time.perf_counter`."""
    return (time.perf_counter() - began) * 1e3
