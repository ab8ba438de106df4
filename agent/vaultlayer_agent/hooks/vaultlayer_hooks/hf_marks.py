"""Marks of what a Trainer script keeps between steps: equal marks, nothing has changed.

Nothing here draws a random number or reads a tensor's values; workers tell of their draws in a shared byte.
"""

import ctypes
import mmap
import random
import sys
from types import FunctionType, ModuleType

LIBRARIES = frozenset(("transformers", "trl", "peft", "accelerate", "torch", "builtins", "unsloth"))
CLOSED = LIBRARIES | frozenset(
    ("tokenizers", "datasets", "logging", "tqdm", "wandb", "mlflow", "threading", "_thread", "io")
)
DEPTH_MOST = 4
ITEMS_MOST = 64
ENDS = 8
ARRAY_MOST_B = 1 << 20
SEARCHES = 4
PLAIN = (int, float, complex, bool, str, bytes, type(None))


def of(trainer):
    """Give a mark of each attribute that the user's own callbacks and subclasses keep, by name."""
    walk = _Walk(trainer, only_tensors=False)
    return {name: walk.mark(value, 0) for name, value in _own(trainer).items()}


def tensors(trainer):
    """Give such marks of the tensors among them, and of nothing else."""
    walk = _Walk(trainer, only_tensors=True)
    marks = {name: walk.mark(value, 0) for name, value in _own(trainer).items()}
    return {name: mark for name, mark in marks.items() if mark}


def _own(trainer):
    found = {}
    known = _names_of_libraries(type(trainer))
    for name, value in vars(trainer).items():
        if name not in known:
            found["%s.%s" % (type(trainer).__name__, name)] = value
    for callback in trainer.callback_handler.callbacks:
        cls = type(callback)
        if _root(cls) != "transformers":
            exported = _exported(callback)
            for name, value in getattr(callback, "__dict__", {}).items():
                if name not in exported:
                    found["%s.%s" % (cls.__name__, name)] = value
    return found


def _root(cls):
    return (getattr(cls, "__module__", None) or "").split(".")[0]


def _exported(callback):
    """Give the names of what a stateful callback puts into the checkpoints."""
    exportable = any(cls.__name__ == "ExportableState" for cls in type(callback).__mro__)
    state = callback.state() if exportable else {}
    return set(state.get("attributes", ())) | set(state.get("args", ()))


def _names_of_libraries(cls):
    """Give every name that the library's part of a Trainer's class speaks of."""
    names = set()
    for base in cls.__mro__:
        if _root(base) in LIBRARIES:
            for member in vars(base).values():
                member = getattr(member, "fget", None) or getattr(member, "__func__", member)
                member = getattr(member, "__wrapped__", member)
                if isinstance(member, FunctionType):
                    _names_in(member.__code__, names)
    return names


def _names_in(code, names):
    names.update(code.co_names)
    for inner in code.co_consts:
        if isinstance(inner, type(code)):
            _names_in(inner, names)


class _Walk:
    """Marks values; what belongs to the model is in the checkpoints, so it has no mark."""

    def __init__(self, trainer, only_tensors):
        self._torch = sys.modules["torch"]
        self._only_tensors = only_tensors
        self._model = {id(t) for t in _of_module(trainer.model)} if trainer.model else set()
        self._seen = {id(trainer)}

    def mark(self, value, depth):
        if isinstance(value, PLAIN):
            return None if self._only_tensors else (type(value).__name__, repr(value))
        if isinstance(value, self._torch.Tensor):
            return None if id(value) in self._model else (id(value), value._version)
        if depth > DEPTH_MOST or id(value) in self._seen:
            return None
        self._seen.add(id(value))
        marks = self._inside(value, depth)
        if self._only_tensors:
            return tuple([mark for mark in marks if mark]) or None
        return (type(value).__name__, *marks)

    def _inside(self, value, depth):
        if isinstance(value, self._torch.nn.Module):
            return [self.mark(tensor, depth) for tensor in _of_module(value)]
        if isinstance(value, dict):
            inner = [each for item in _ends(list(value.items())) for each in item]
            return [("len", len(value)), *(self.mark(v, depth + 1) for v in inner)][self._skip :]
        if isinstance(value, (list, tuple, set, frozenset)) or _is_deque(value):
            inner = _ends(list(value))
            return [("len", len(value)), *(self.mark(v, depth + 1) for v in inner)][self._skip :]
        if hasattr(value, "tobytes") and hasattr(value, "dtype"):
            small = getattr(value, "nbytes", 0) <= ARRAY_MOST_B and not value.dtype.hasobject
            return [] if self._only_tensors or not small else [hash(value.tobytes())]
        if isinstance(value, (type, FunctionType, ModuleType)) or _root(type(value)) in CLOSED:
            return []
        if (state := state_of(value)) is not None:
            return [] if self._only_tensors else [state]
        inner = list(getattr(value, "__dict__", {}).items())[:ITEMS_MOST]
        return [self.mark(v, depth + 1) for _, v in inner]

    @property
    def _skip(self):
        return 1 if self._only_tensors else 0


def _of_module(module):
    return [*module.parameters(), *module.buffers()]


def _is_deque(value):
    return type(value).__name__ == "deque"


def _ends(items):
    return items if len(items) <= ITEMS_MOST else items[:ENDS] + items[-ENDS:]


def state_of(value):
    """Give the state of a random stream, comparable; None for anything else."""
    torch, numpy = sys.modules["torch"], sys.modules.get("numpy.random")
    if isinstance(value, random.Random):
        return None if isinstance(value, random.SystemRandom) else value.getstate()
    if isinstance(value, torch.Generator):
        return _bytes_of(value.get_state())
    if numpy is None:
        return None
    if isinstance(value, numpy.RandomState):
        return _numpy_state(value)
    if isinstance(value, numpy.Generator):
        return repr(value.bit_generator.state)
    return None


def _bytes_of(tensor):
    return ctypes.string_at(tensor.data_ptr(), tensor.numel())


def _numpy_state(numpy_rng):
    _, key, *rest = numpy_rng.get_state()
    return (key.tobytes(), *rest)


class Watched:
    """The training's dataset, and whether a fetch from it has drawn random numbers, in whatever process."""

    def __init__(self):
        self.dataset = None
        self._drawn = mmap.mmap(-1, 1)  # a forked worker shares it
        self._streams = []
        self._searches = 0

    def has_drawn(self):
        """Whether some fetch has drawn."""
        return self._drawn[0] != 0

    def drew(self):
        """Note that one has."""
        self._drawn[0] = 1

    def state(self, fetcher):
        """Give the state of all streams that a fetch may draw from."""
        if self._searches < SEARCHES:
            # Some make their stream in the first fetch.
            self._searches += 1
            self._streams = []
            seen = set()
            for part in (fetcher.dataset, fetcher.collate_fn):
                _search(part, 0, seen, self._streams)
        numpy = sys.modules.get("numpy.random")
        return (
            random.getstate(),
            _bytes_of(sys.modules["torch"].get_rng_state()),
            numpy and _numpy_state(numpy.mtrand._rand),
            {id(stream): state_of(stream) for stream in self._streams},
        )


watched = Watched()


def _search(value, depth, seen, found):
    if id(value) in seen or depth > DEPTH_MOST or isinstance(value, PLAIN):
        return
    seen.add(id(value))
    if state_of(value) is not None:
        found.append(value)
        return
    inside = ()
    if isinstance(value, (list, tuple)) and len(value) < ITEMS_MOST:
        inside = value
    elif isinstance(value, dict) and len(value) < ITEMS_MOST:
        inside = value.values()
    elif not isinstance(value, (type, ModuleType, sys.modules["torch"].Tensor)):
        inside = list(getattr(value, "__dict__", {}).values())
    for item in inside:
        _search(item, depth + 1, seen, found)


def watch_fetches(torch):
    """Wrap what fetches a batch, in this process and in the workers that it forks."""
    fetch = torch.utils.data._utils.fetch
    for cls in (fetch._MapDatasetFetcher, fetch._IterableDatasetFetcher):
        if not getattr(cls.fetch, "vaultlayer", False):
            cls.fetch = _watching(cls.fetch)


def _watching(original):
    def fetch(self, possibly_batched_index):
        if self.dataset is not watched.dataset or watched.has_drawn():
            return original(self, possibly_batched_index)
        before = _safely(watched.state, self)
        batch = original(self, possibly_batched_index)
        if before is not None and _safely(watched.state, self) != before:
            watched.drew()
        return batch

    fetch.vaultlayer = True
    return fetch


def _safely(function, *args):
    try:
        return function(*args)
    except Exception:
        watched.drew()
        return None
