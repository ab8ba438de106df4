"""Data loaders: a replay fetches nothing, and moves the open iterator to its place when it goes live.

In a replay an iterator is an empty shell of the real class that gives ghosts of the recorded batches. At
go-live the open ones are filled: a single-process map-style iterator advances its index sampler only, others
fetch again what the dead run had fetched from that iterator, each from the random state that it began with.
"""

import functools
import weakref
from _thread import get_ident

from vaultlayer_hooks.ghost import draws, fetched, growing, log, raised, rng, samplers, specs
from vaultlayer_hooks.ghost.rng import set_small_state, small_state, streams
from vaultlayer_hooks.ghost.state import OFF, REPLAY, run

PLAIN = frozenset((int, float, bool, str, bytes, type(None)))


class Open:
    """What is known of one iterator."""

    __slots__ = (
        "begin",
        "count",
        "done",
        "draws",
        "failed",
        "first",
        "grows",
        "iterator",
        "loader",
        "number",
        "past",
        "shell",
    )

    def __init__(self, number, iterator, loader, begin):
        self.number = number
        self.iterator = weakref.ref(iterator, self._let_go)
        self.loader = loader
        self.begin = begin
        self.first = None
        self.count = 0
        self.failed = 0
        self.done = False
        # Whether it draws from random streams as it goes on; None until it has to be known.
        self.draws = None
        self.shell = False
        self.grows = False
        # Earlier epochs of workers that live on: their random streams go on too.
        self.past = ()

    def _let_go(self, _iterator):
        """Keep no dataset alive, which may be large, once nothing more can be fetched."""
        self.loader, self.begin, self.past = None, None, ()


class Loaders:
    """The iterators of this process, by their number."""

    def __init__(self):
        self.made = 0
        self.open = {}
        self.used = {}

    def of(self, iterator):
        """Give what is known of an iterator, or None."""
        found = self.open.get(id(iterator))
        return found if found is not None and found.iterator() is iterator else None


known = Loaders()


def patch(torch):
    """Wrap `DataLoader.__iter__` and the iterators' `__next__`."""
    module = torch.utils.data.dataloader
    torch.utils.data.DataLoader.__iter__ = _iter(module, torch.utils.data.DataLoader.__iter__)
    base = module._BaseDataLoaderIter
    base.__next__ = _next(base.__next__)
    samplers.patch(base)
    draws.patch(module)


def _iter(module, original):
    @functools.wraps(original)
    def __iter__(self):
        if run.mode == OFF or run.depth or get_ident() != run.main:
            return original(self)
        run.begin()
        if run.mode == REPLAY:
            return _shell(module, self)
        begin = _begin_state(self)
        mark, iterator = streams.mark(), None
        run.depth += 1
        draws.begin()
        try:
            iterator = original(self)
        finally:
            run.depth -= 1
            draws.end(iterator)
        after = small_state() if streams.mark() != mark else None
        _remember(iterator, self, begin)
        log.note("iter", (begin, after))
        return iterator

    return __iter__


def _begin_state(loader):
    """Give what the iterator's data depends on: random streams, and plain attributes of its parts."""
    owned = tuple(map(rng.stream_state, fetched.streams(loader)))
    return (
        small_state(),
        rng.torch_state(),
        owned,
        _attributes(loader),
        samplers.state(loader, samplers.noted),
    )


def parts(loader):
    """Give the objects that a loader fetches through: its dataset and its samplers."""
    found = []
    for name in ("dataset", "sampler", "batch_sampler"):
        part = getattr(loader, name, None)
        if hasattr(part, "__dict__"):
            found.append(part)
    return found


def _attributes(loader):
    return tuple(
        tuple((k, v) for k, v in vars(part).items() if type(v) in PLAIN) for part in parts(loader)
    )


def _set_attributes(loader, recorded):
    for part, attributes in zip(parts(loader), recorded):
        for name, value in attributes:
            if vars(part).get(name) != value:
                vars(part)[name] = value


def _remember(iterator, loader, begin):
    for key in [k for k, o in known.open.items() if o.iterator() is None]:
        del known.open[key]
    known.used = {key: ref for key, ref in known.used.items() if ref() is not None}
    known.used[id(loader)] = weakref.ref(loader)
    before = known.of(iterator)
    opened = Open(known.made, iterator, loader, begin)
    if before is not None:
        opened.past = (*before.past, before)
    known.made += 1
    known.open[id(iterator)] = opened
    return opened


def _shell(module, loader):
    samplers.take_new()
    drawn = draws.take()
    begin, after = specs.take_with_specs("iter")
    if _lives_on(loader) and loader._iterator is not None:
        iterator = loader._iterator
    else:
        iterator = _empty(module, loader)
    _remember(iterator, loader, begin).shell = True
    draws.remember(iterator, drawn)
    _set_attributes(loader, begin[3])
    if after is not None:
        set_small_state(after)
    return iterator


def _lives_on(loader):
    """Whether a loader's workers, and their one iterator, outlive an epoch."""
    return loader.persistent_workers and loader.num_workers > 0


def _empty(module, loader):
    single = loader.num_workers == 0
    kind = module._SingleProcessDataLoaderIter if single else module._MultiProcessingDataLoaderIter
    iterator = object.__new__(kind)
    # What its `__del__` and a look at its length need.
    iterator._shutdown = True
    iterator._workers = []
    iterator._index_sampler = loader._index_sampler
    iterator._num_yielded = 0
    if _lives_on(loader):
        loader._iterator = iterator
    return iterator


def _next(original):
    @functools.wraps(original)
    def __next__(self):
        if run.mode == OFF or run.depth or get_ident() != run.main:
            return original(self)
        opened = known.of(self)
        if opened is None:
            return original(self)
        if run.mode == REPLAY:
            return _replay_next(opened)
        if not opened.count and not opened.failed:
            opened.first = rng.torch_state()
        if opened.draws is None:
            opened.draws = draws.concern(self)
        mark = streams.mark()
        sizes = growing.sizes(opened.loader)
        seen = fetched.before(opened.loader)
        run.depth += 1
        if opened.draws:
            draws.begin()
        try:
            batch = original(self)
        except Exception as error:
            _note_error(opened, error, small_state() if streams.mark() != mark else None)
            fetched.note(opened.loader, seen)
            raise
        finally:
            run.depth -= 1
            if opened.draws:
                draws.end(self)
        opened.grows = opened.grows or sizes != growing.sizes(opened.loader)
        _note_batch(opened, batch, small_state() if streams.mark() != mark else None)
        fetched.note(opened.loader, seen)
        return batch

    return __next__


def _note_error(opened, error, state):
    """Record the end of an iterator, or an error after which it may go on."""
    draws.end(opened.iterator())
    if isinstance(error, StopIteration):
        opened.done = True
        log.note("end", state)
    else:
        opened.failed += 1
        raised.note("fetch", error, state)


def _note_batch(opened, batch, state):
    first = opened.first if not opened.count else None
    opened.count += 1
    # What a dataset gathers as it is read can only be had by reading it.
    which = None if opened.grows else specs.number_of(batch)
    changed = None
    if opened.loader.num_workers == 0:
        changed = _changed_streams(opened)
    log.note("batch", (which, state, first, changed))


def _changed_streams(opened):
    """Give the states of private streams that the fetch has drawn from, or None."""
    found = fetched.streams(opened.loader) if opened.begin[2] else ()
    return tuple(rng.stream_state(s) for s in found) if found else None


def _replay_next(opened):
    draws.remember(opened.iterator(), draws.take())
    specs.take_new()
    if log.peek() == "end":
        state = log.take("end")
        if state is not None:
            set_small_state(state)
        opened.done = True
        fetched.put(opened.loader)
        raise StopIteration
    if log.peek() == "raised":
        opened.failed += 1
        try:
            raised.fetch_again(opened.iterator(), not opened.shell)
        finally:
            fetched.put(opened.loader)
    which, state, first, changed = log.take("batch")
    if first is not None:
        opened.first = first
    opened.count += 1
    opened.grows = opened.grows or which is None
    batch = specs.ghost_of(which) if which is not None else _fetch_for_real(opened)
    if changed is not None:
        for stream, value in zip(fetched.streams(opened.loader), changed):
            rng.set_stream_state(stream, value)
    if state is not None:
        set_small_state(state)
    fetched.put(opened.loader)
    return batch


def _fetch_for_real(opened):
    """Fetch a batch that no description can stand in for, from the streams as they are now."""
    before = small_state()
    own = [(stream, rng.stream_state(stream)) for stream in fetched.streams(opened.loader)]
    fill(opened, opened.count - 1)
    set_small_state(before)
    for stream, state in own:
        # Torch's have been brought there with the sampler that draws from them.
        if state is not None and state[0] != "torch":
            rng.set_stream_state(stream, state)
    run.depth += 1
    try:
        return next(opened.iterator())
    finally:
        run.depth -= 1


def positions():
    """Give number, position and sum of indices of every iterator that is alive and not at its end."""
    needed = [o for o in alive() if not o.done or _lives_on(o.loader)]
    return tuple(sorted((o.number, o.count, given(o)) for o in needed))


def given(opened):
    """Give a checksum of what an iterator has given: of all indices, or of the last batch of a stream."""
    iterator = opened.iterator()
    return samplers.drawn(iterator) ^ draws.last(iterator)


def alive():
    """Give what is known of the iterators that are alive."""
    return [o for o in known.open.values() if o.iterator() is not None]


def loaders():
    """Give the loaders of the iterators that are alive, with the iterators' numbers."""
    return [(o.number, o.loader) for o in sorted(alive(), key=lambda o: o.number)]


def skipped_ids():
    """Give the ids of objects that skipped calls may change: loaders, their parts, and what those hold."""
    ids = {}
    for ref in list(known.used.values()):
        loader = ref()
        if loader is not None:
            ids[id(loader)] = loader
            held = fetched.holders(loader, fetched.SAMPLERS + fetched.OTHERS)
            ids.update((id(part), part) for part in [*held.values(), *fetched.streams(loader)])
    return set(ids)


def fill(opened, count):
    """Make a shell a real iterator that has given `count` batches."""
    if not opened.shell:
        return
    opened.shell = False
    iterator = opened.iterator()
    epochs = [*opened.past, opened]
    held_now = samplers.state(opened.loader)
    for epoch in epochs:
        _begin_again(epoch)
        run.depth += 1
        try:
            if epoch is epochs[0]:
                iterator.__init__(opened.loader)
            else:
                iterator._reset(opened.loader)
            if epoch.first is not None:
                rng.set_torch_state(epoch.first)
            _advance(iterator, count if epoch is opened else epoch.count, epoch.failed)
            if epoch.done:
                next(iterator, None)
        finally:
            run.depth -= 1
    samplers.put(opened.loader, held_now)


def _begin_again(opened):
    """Set everything that an iterator's data depends on to what it was when it began."""
    small, torch_state, owned, attributes, held = opened.begin
    samplers.put(opened.loader, held)
    set_small_state(small)
    rng.set_torch_state(torch_state)
    for stream, state in zip(fetched.streams(opened.loader), owned):
        rng.set_stream_state(stream, state)
    _set_attributes(opened.loader, attributes)


def _advance(iterator, count, failed):
    """Let an iterator give `count` batches, and raise as many errors as it has raised."""
    module = run.torch.utils.data.dataloader
    by_index = isinstance(iterator, module._SingleProcessDataLoaderIter)
    if by_index and iterator._dataset_kind == module._DatasetKind.Map:
        for _ in range(count + failed):
            iterator._next_index()
        iterator._num_yielded += count
    else:
        for _ in range(count + failed):
            try:
                next(iterator)
            except Exception:
                failed -= 1
                if failed < 0:
                    raise
