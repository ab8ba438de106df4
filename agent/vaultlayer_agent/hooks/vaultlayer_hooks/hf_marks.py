"""Marks of values: equal marks, nothing has changed.

Nothing here draws a random number, reads a tensor's values or calls what is the script's own.
"""

import ctypes
import functools
import random
import sys
from types import (
    BuiltinFunctionType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)

LIBRARIES = frozenset(("transformers", "trl", "peft", "accelerate", "torch", "builtins", "unsloth"))
CLOSED = LIBRARIES | frozenset(
    "tokenizers datasets evaluate logging tqdm rich wandb mlflow threading _thread io itertools".split()
)
OPEN = ("torch.utils.data", "datasets.")
"""Of libraries, but they hold what is the script's own: its data, and functions that change it."""

DEPTH_MOST = 4
ITEMS_MOST = 64
ENDS = 8
ARRAY_MOST_B = 1 << 20
NODES_MOST = 50_000
PLAIN = (int, float, complex, bool, str, bytes, type(None))


def root_of(cls):
    """Give the package that a class or a function belongs to."""
    return (getattr(cls, "__module__", None) or "").split(".")[0]


def is_open(value):
    """Whether it is a library's, and yet holds the script's own."""
    return (getattr(type(value), "__module__", None) or "").startswith(OPEN)


def tensors_of(module):
    """Give the parameters and buffers of a module."""
    return [*module.parameters(), *module.buffers()]


class Walk:
    """Marks values; what is `known` has no mark, for the checkpoints hold it, or another name leads to it."""

    def __init__(self, known, only_tensors=False):
        self._torch = sys.modules["torch"]
        self._only_tensors = only_tensors
        self._seen = set(known)
        self._left = NODES_MOST

    def mark(self, value, depth=0):
        """Give the mark of a value, None where there is nothing to say."""
        if isinstance(value, PLAIN):
            return None if self._only_tensors else _plain(value)
        if depth > DEPTH_MOST or id(value) in self._seen or not self._left:
            return None
        if isinstance(value, self._torch.Tensor):
            return id(value), -1 if value.is_inference() else value._version
        if type(value).__name__.startswith("_Lazy"):
            # The registries of transformers 4 import a module for each item that is looked at.
            return None
        self._left -= 1
        self._seen.add(id(value))
        marks = self._inside(value, depth)
        if self._only_tensors:
            return tuple([mark for mark in marks if mark]) or None
        return (type(value).__name__, *marks)

    def _inside(self, value, depth):
        if isinstance(value, self._torch.nn.Module):
            return [self.mark(tensor, depth) for tensor in tensors_of(value)]
        if isinstance(value, dict):
            inner = [each for item in _ends(list(value.items())) for each in item]
            return self._several(len(value), inner, depth)
        if isinstance(value, (list, tuple, set, frozenset)) or _is_deque(value):
            return self._several(len(value), _ends(list(value)), depth)
        if (held := held_by_call(value)) is not None:
            return [] if self._only_tensors else [self.mark(each, depth + 1) for each in held]
        if isinstance(value, (type, ModuleType)):
            return []
        if hasattr(type(value), "tobytes") and hasattr(type(value), "dtype"):
            return [] if self._only_tensors else [_array(value)]
        if root_of(type(value)) in CLOSED and not is_open(value):
            # Where an iterator stands cannot be seen.
            return [object()] if _is_iterator(value) and not self._only_tensors else []
        if (state := state_of(value)) is not None:
            return [] if self._only_tensors else [state]
        inner = list(getattr(value, "__dict__", {}).items())[:ITEMS_MOST]
        if is_open(value):
            return [self.mark(v, depth) for name, v in inner if not self._is_librarys(name, v)]
        return [self.mark(v, depth + 1) for _, v in inner]

    def _is_librarys(self, name, value):
        """Whether an attribute of a library's data is the library's own place in it, as a resume finds it."""
        return "state" in name or isinstance(value, (*PLAIN, self._torch.Tensor))

    def _several(self, count, inner, depth):
        marks = [self.mark(each, depth + 1) for each in inner]
        return marks if self._only_tensors else [("len", count), *marks]


def held_by_call(value):
    """Give what a function keeps from call to call, a list; None for what is no function of the script's."""
    if isinstance(value, MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        return [frame.f_lasti, *frame.f_locals.values()] if frame is not None else []
    if isinstance(value, (staticmethod, classmethod)):
        return [value.__func__]
    if not isinstance(value, FunctionType):
        return [] if isinstance(value, BuiltinFunctionType) else None
    if (value.__module__ or "").split(".")[0] in CLOSED:
        return []
    cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
    return [*cells, *(value.__defaults__ or ()), *vars(value).values()]


def _is_filled(cell):
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _plain(value):
    if isinstance(value, (str, bytes)):
        return type(value).__name__, hash(value)
    return type(value).__name__, repr(value)


def _array(value):
    if value.dtype.hasobject:
        return None
    every = max(1, value.nbytes // ARRAY_MOST_B)
    return hash(value.tobytes() if every == 1 else value.flat[::every].tobytes())


def _is_iterator(value):
    return hasattr(type(value), "__next__") and root_of(type(value)) in ("builtins", "itertools")


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
        return bytes_of(value.get_state())
    if numpy is None:
        return None
    if isinstance(value, numpy.RandomState):
        return numpy_state(value)
    if isinstance(value, numpy.Generator):
        return repr(value.bit_generator.state)
    return None


def bytes_of(tensor):
    """Give the bytes of a small tensor of the processor's."""
    return ctypes.string_at(tensor.data_ptr(), tensor.numel())


def numpy_state(numpy_rng):
    """Give the state of one of NumPy's older streams, comparable."""
    _, key, *rest = numpy_rng.get_state()
    return (key.tobytes(), *rest)
