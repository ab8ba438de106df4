"""Forward passes are counted in a place that is hard to see, and the count matters late."""

import argparse
import array
import collections
import contextvars
import ctypes
import datetime as dt
import decimal
import enum
import functools
import gzip
import hashlib
import importlib.util
import io
import itertools
import logging
import multiprocessing
import queue
import sys
import threading
import weakref
import zipfile
from fractions import Fraction

import numpy as np
import torch

LATE = 55


class Level(enum.Enum):
    """Names of counts."""

    L0, L1, L2 = range(3)

    def next(self):
        return Level((self.value + 1) % 3)


class Static:
    """A count in the default of a method that has no instance."""

    @staticmethod
    def tick(held=[0]):  # noqa: B006
        held[0] += 1
        return held[0]

    @property
    def ticked(self, held=[0]):  # noqa: B006
        held[0] += 1
        return held[0]

    def __call__(self, held=[0]):  # noqa: B006
        held[0] += 1
        return held[0]


def made_class():
    """Give an instance of a class that has no name outside."""

    class Counting:
        count = 0

        def tick(self):
            Counting.count += 1
            return Counting.count

    return Counting()


def made_function():
    """Give an autograd function with a count around it."""
    count = 0

    class Counting(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            nonlocal count
            count += 1
            return x + count

    return Counting


def loaded():
    """Give a function of a file that is loaded by hand."""
    with open("loaded.py", "w") as file:
        file.write("__n = 0\ndef tick():\n    global __n\n    __n += 1\n    return __n\n")
    spec = importlib.util.spec_from_file_location("loaded", "loaded.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.tick


class Key:
    """A key that is held weakly."""


__hidden = 0
counter, bound, items = itertools.count(1), itertools.count(1).__next__, iter(range(1, 10_000))
numbered, around = enumerate(itertools.repeat(0), 1), itertools.cycle(range(1, 50))
added, sliced = (
    itertools.accumulate(itertools.repeat(1)),
    itertools.islice(itertools.count(1), None),
)
repeated, taken = itertools.repeat(0, 10_000), itertools.tee(itertools.count(1))[0]
one_by_one = (n for n in range(1, 10_000))
args, local, variable = (
    argparse.Namespace(n=0),
    threading.local(),
    contextvars.ContextVar("n", default=0),
)
local.n = 0
key, weak, waiting, text = Key(), weakref.WeakKeyDictionary(), queue.Queue(), io.StringIO()
weak[key] = 0
pairs, stored, numbers = {(0, "a")}, bytearray(1), array.array("d", [0.0])
raw, shared = ctypes.c_int(0), multiprocessing.Value("i", 0)
real, whole, phase, part, money = np.float64(0), np.int32(0), 0j, Fraction(0), decimal.Decimal(0)
day, span, level, works = dt.date(2020, 1, 1), range(0), Level.L0, [torch.relu, torch.tanh]
work, events, counting, function, by_hand = (
    works[0],
    [object()],
    made_class(),
    made_function(),
    loaded(),
)
twins, loaded_twins = (made_class(), made_class()), (loaded(), loaded())
extended, wrapped = [0].append, functools.partial(int, 0)
static = Static()


def rebound(**names):
    """Let globals have other values; give the last of them."""
    globals().update(names)
    return list(names.values())[-1]


def after(container, item):
    """Give the length of a container that has got one item more."""
    (container.add if isinstance(container, set) else container.append)(item)
    return len(container) - 1


def put_in(holder, name):
    """Count in an attribute."""
    setattr(holder, name, getattr(holder, name) + 1)
    return getattr(holder, name)


def dunder():
    """Count in a global with two underscores."""
    global __hidden
    __hidden += 1
    return __hidden


PLACES = {
    "count": lambda: next(counter),
    "bound_count": lambda: bound(),
    "range": lambda: next(items),
    "enumerate": lambda: next(numbered)[0],
    "cycle": lambda: next(around),
    "accumulate": lambda: next(added),
    "islice": lambda: next(sliced),
    "repeat": lambda: 10_000 - (next(repeated) or repeated.__length_hint__()),
    "tee": lambda: next(taken),
    "generator": lambda: next(one_by_one),
    "namespace": lambda: put_in(args, "n"),
    "thread_local": lambda: put_in(local, "n"),
    "context": lambda: (variable.set(variable.get() + 1), variable.get())[1],
    "weak": lambda: (weak.__setitem__(key, weak[key] + 1), weak[key])[1],
    "queue": lambda: (waiting.put(1), waiting.qsize())[1],
    "text": lambda: (text.write("a"), len(text.getvalue()))[1],
    "set_of_tuples": lambda: after(pairs, (len(pairs), "a")),
    "bytearray": lambda: after(stored, 1),
    "array": lambda: after(numbers, 1.0),
    "ctypes": lambda: put_in(raw, "value"),
    "shared": lambda: put_in(shared, "value"),
    "float64": lambda: rebound(real=real + 1),
    "int32": lambda: rebound(whole=whole + np.int32(1)),
    "complex": lambda: rebound(phase=phase + 1).real,
    "fraction": lambda: rebound(part=part + 1),
    "decimal": lambda: rebound(money=money + 1),
    "date": lambda: (rebound(day=day + dt.timedelta(1)) - dt.date(2020, 1, 1)).days,
    "ends": lambda: rebound(span=range(span.stop + 1)).stop,
    "enum": lambda: rebound(level=level.next()).value,
    "rebound_function": lambda: works.index(rebound(work=works[1 - works.index(work)])),
    "objects": lambda: after(events, object()),
    "hidden_class": lambda: counting.tick(),
    "autograd_function": lambda: function.apply(torch.zeros(1)).item(),
    "static_default": lambda: Static.tick(),
    "property_default": lambda: static.ticked,
    "call_default": lambda: static(),
    "loaded_by_hand": lambda: by_hand(),
    "first_twin": lambda: twins[0].tick(),
    "second_twin": lambda: twins[1].tick(),
    "first_loaded_twin": lambda: loaded_twins[0](),
    "second_loaded_twin": lambda: loaded_twins[1](),
    "bound_list": lambda: (extended(1), len(extended.__self__) - 1)[1],
    "partial": lambda: rebound(wrapped=functools.partial(int, wrapped() + 1))(),
    "two_underscores": dunder,
    "order_of_names": lambda: (named.move_to_end(next(iter(named))), 0)[1],
    "chain_map": None,
}
named = collections.OrderedDict((name, object()) for name in "ab")
chain = collections.ChainMap({}, {"n": 0})
PLACES["chain_map"] = lambda: (chain.__setitem__("n", chain["n"] + 1), chain["n"])[1]


class Rows(list):
    """A list that keeps something besides."""


class Rate(float):
    """A number that keeps something besides."""


class Phase(enum.Enum):
    """Members that keep something besides."""

    WARM = "warm"

    def __init__(self, _value):
        self.count = 0


class Counts(ctypes.Structure):
    """Numbers that lie as in C."""

    _fields_ = (("real", ctypes.c_double), ("count", ctypes.c_int * 2))


class Counting(logging.Handler):
    """Counts what is told."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, _record):
        self.count += 1


def sent(times):
    """Tell something; give how many of the script's handlers have been told."""
    told.debug("passes: %d", times)
    return told.handlers[0].count


def primed():
    """Give a generator that always waits in one place."""
    count = 0
    while True:
        yield count
        count += 1


class Turns:
    """Does one of two things."""

    def one(self):
        """Do the first."""

    def two(self):
        """Do the second."""


turns, noted = Turns(), functools.partial(int)
turn, later, noted.count = turns.one, functools.partial(turns.one), 0
rows, rate, in_c, in_memory = Rows([0.5]), Rate(0.5), Counts(), io.BytesIO()
alone, alike, digest = {Key()}, {Key(), Key()}, hashlib.sha256()
event, permits, waits = threading.Event(), threading.Semaphore(0), primed()
told = logging.getLogger("told")
told.setLevel(logging.DEBUG)
told.propagate = False
told.addHandler(Counting())
written = gzip.GzipFile("written.gz", "wb")
zipped = zipfile.ZipFile("written.zip", "w")
next(waits)
for item in (rows, rate, *alone, *alike):
    item.count = 0
PLACES["method"] = lambda: (rebound(turn=turns.two if turn == turns.one else turns.one), 0)[1]
PLACES["partial_attribute"] = lambda: put_in(noted, "count")
PLACES["list_attribute"] = lambda: put_in(rows, "count")
PLACES["number_attribute"] = lambda: put_in(rate, "count")
PLACES["member_attribute"] = lambda: put_in(Phase.WARM, "count")
PLACES["alone_in_set"] = lambda: put_in(next(iter(alone)), "count")
PLACES["alike_in_set"] = lambda: put_in(next(iter(alike)), "count")
PLACES["structure"] = lambda: (in_c.count.__setitem__(1, in_c.count[1] + 1), in_c.count[1])[1]
PLACES["event"] = lambda: (event.clear() if event.is_set() else event.set(), 0)[1]
PLACES["semaphore"] = lambda: (permits.release(), permits._value)[1]
PLACES["handler"] = lambda: sent(1)
PLACES["bytes_in_memory"] = lambda: (in_memory.write(b"a"), in_memory.tell())[1]
PLACES["digest"] = lambda: (digest.update(b"a"), 0)[1]
PLACES["gzip"] = lambda: (written.write(b"a"), written.size)[1]
PLACES["zip"] = lambda: (zipped.writestr(str(len(zipped.filelist)), b"a"), 0)[1]
PLACES["primed_generator"] = lambda: next(waits)


class Model(torch.nn.Linear):
    """Counts its passes."""

    def forward(self, x):
        passes = PLACES[sys.argv[1]]()
        return super().forward(x) * (1.5 if passes > LATE else 1.0)


if __name__ == "__main__":
    torch.manual_seed(0)
    model = Model(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    x = torch.randn(32, 4)
    for _ in range(60):
        loss = (model(x) - x.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print("FINAL", model.weight.tolist())
