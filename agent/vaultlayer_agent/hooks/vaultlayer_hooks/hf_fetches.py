"""Whether data draws random numbers or keeps something as it is read, in this process or a forked worker.

A worker tells in a byte that it shares with the process that forked it.
"""

import mmap
import random
import sys
from types import ModuleType

from vaultlayer_hooks import hf_marks, hf_owned
from vaultlayer_hooks.hf_marks import DEPTH_MOST, ITEMS_MOST, PLAIN

SEARCHES = 4
LOOKS = 8
"""So many fetches of a process are looked at closely, and then each that doubles their number."""

NOTHING, DRAWS, KEEPS, HIDDEN = 0, 1, 2, 3
WHY = {
    NOTHING: "",
    DRAWS: "its data draws random numbers, also for batches fetched ahead of the step",
    KEEPS: "its data keeps something as it is read (a count, a cache), which no checkpoint holds",
    HIDDEN: "its data is read by workers that are not forked, so nobody sees what they draw and keep",
}


class Watched:
    """The training's dataset, and what a fetch from it has been seen to do."""

    def __init__(self):
        self.dataset = None
        self.trainer = None
        self._found = mmap.mmap(-1, 1)
        self._streams = []
        self._fetches = 0

    def begin(self, trainer):
        """Watch the data of a training; the workers that it will fork share the byte."""
        self._found = mmap.mmap(-1, 1)
        loader = trainer.callback_handler.train_dataloader
        self.dataset = getattr(loader, "dataset", None)
        self.trainer = trainer
        self._fetches = 0
        if getattr(loader, "num_workers", 0) and not _forks(loader):
            self.found(HIDDEN)

    def end(self):
        """Hold nothing of the script's any more."""
        self.dataset = self.trainer = None

    def why(self):
        """Say what was seen, or ""."""
        return WHY[self._found[0]]

    def found(self, what):
        """Note what a fetch has done."""
        self._found[0] = self._found[0] or what

    def before(self, fetcher):
        """Begin to look at a fetch; give what `after` compares with."""
        self._fetches += 1
        if self._fetches <= SEARCHES:
            # Some make their stream in the first fetch.
            self._streams = streams_of(fetcher)
        return self._randomness(), self._marks()

    def after(self, before):
        """Look again."""
        random_before, marks_before = before
        if self._randomness() != random_before:
            self.found(DRAWS)
        # What the first fetch makes, the first fetch of a resume makes again.
        elif self._fetches > 1 and marks_before is not None and self._marks() != marks_before:
            self.found(KEEPS)

    def _randomness(self):
        numpy = sys.modules.get("numpy.random")
        return (
            random.getstate(),
            hf_marks.bytes_of(sys.modules["torch"].get_rng_state()),
            numpy and hf_marks.numpy_state(numpy.mtrand._rand),
            {id(stream): hf_marks.state_of(stream) for stream in self._streams},
        )

    def _marks(self):
        count = self._fetches
        if count > LOOKS and count & (count - 1):
            return None
        in_worker = sys.modules["torch"].utils.data.get_worker_info() is not None
        return hf_owned.data_marks_of(self.trainer, with_globals=in_worker)


watched = Watched()


def _forks(loader):
    from torch import multiprocessing

    context = getattr(loader, "multiprocessing_context", None)
    name = getattr(context, "_name", None) or multiprocessing.get_start_method(allow_none=True)
    return name == "fork" or (name is None and sys.version_info < (3, 14))


def streams_of(fetcher):
    """Give the random streams that a fetch may draw from, those in globals of the script's too."""
    found, seen = [], set()
    for part in (fetcher.dataset, fetcher.collate_fn):
        _search(part, 0, seen, found)
    for name in [name for name in list(sys.modules) if hf_owned.is_users_module(name)]:
        for value in list(vars(sys.modules[name]).values()):
            if not isinstance(value, (type, ModuleType)):
                _search(value, DEPTH_MOST - 1, seen, found)
    return found


def _search(value, depth, seen, found):
    if id(value) in seen or depth > DEPTH_MOST or isinstance(value, PLAIN):
        return
    seen.add(id(value))
    if hf_marks.state_of(value) is not None:
        found.append(value)
        return
    inside = ()
    if isinstance(value, (list, tuple)) and len(value) < ITEMS_MOST:
        inside = value
    elif isinstance(value, dict) and len(value) < ITEMS_MOST:
        inside = value.values()
    elif (held := hf_marks.held_by_call(value)) is not None:
        inside = held
    elif not isinstance(value, (type, ModuleType, sys.modules["torch"].Tensor)):
        inside = list(getattr(value, "__dict__", {}).values())
    for item in list(inside):
        _search(item, depth + (not hf_marks.is_open(value)), seen, found)


def watch_fetches(torch):
    """Wrap what fetches a batch, in this process and in the workers that it forks."""
    fetch = torch.utils.data._utils.fetch
    for cls in (fetch._MapDatasetFetcher, fetch._IterableDatasetFetcher):
        if not getattr(cls.fetch, "vaultlayer", False):
            cls.fetch = _watching(cls.fetch)


def _watching(original):
    def fetch(self, possibly_batched_index):
        if self.dataset is not watched.dataset or watched.why():
            return original(self, possibly_batched_index)
        before = _safely(watched.before, self)
        batch = original(self, possibly_batched_index)
        if before is not None:
            _safely(watched.after, before)
        return batch

    fetch.vaultlayer = True
    return fetch


def _safely(function, *args):
    try:
        return function(*args)
    except Exception:
        watched.found(DRAWS)
        return None
