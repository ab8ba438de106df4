"""What the script can reach: every tensor, random stream, array and plain value, each with a path.

Begins at the tracked optimizers and root modules, the frames from `__main__` to the hook, and the globals of
the user's modules; goes through containers, instances, closures, partials, bound methods, generators and the
iterators of the standard library. Record and replay walk isomorphic graphs, so equal paths mean equal things.
"""

import array
import collections
import functools
import gc
import mmap
import sys
import types

from vaultlayer_hooks.ghost import (
    addresses,
    boundary,
    kinds,
    loaders,
    module_hooks,
    parts,
    places,
    plain,
    positions,
    rng,
    sparse,
    tables,
    whose,
)
from vaultlayer_hooks.ghost.classes import ByClass
from vaultlayer_hooks.ghost.frames import inside_generator, user_frames
from vaultlayer_hooks.ghost.plain import PLAIN
from vaultlayer_hooks.ghost.referents import referents, slots_of
from vaultlayer_hooks.ghost.state import is_user_file, is_user_module, run

ATOMS = PLAIN | {complex, range, slice, type(Ellipsis)}
NODES_MOST = 500_000

BUFFERS = frozenset((bytearray, memoryview, array.array, mmap.mmap))
# Of modules and optimizers, and of what loaders fetch: calls that a replay skips change both.
USER, SKIPPED, FETCHED, LIBRARY = "user", "skipped", "fetched", "library"
COMPILERS = "torch/_dynamo/backends/"
CACHE = type(functools.lru_cache(maxsize=None)(lambda: None))


class TooMuch(Exception):
    """More Python state than a snapshot can look through."""


def owner_of(kind):
    """Give whose a class is."""
    return _owners[kind]


_owners = ByClass(lambda kind: USER if whose.is_users(kind) else LIBRARY)


class Walk:
    """One look at everything.

    `tensors`: `{id: (tensor, [path, …])}`; `values`: `{path: (value, owner, parent, key, container)}`, where
    a container of plain values is one value, copied; `streams`,
    `arrays` and `buffers` (what else has memory of its own): `{id: (object, path, owner)}`. `seen` keeps
    every visited object alive, so that ids stay unique. `caches`: `{id: path}` of functions that keep what
    they gave, `filled`: `{name: function}` of those that hold tensors. `places`: `{id: path}`
    of everything else, and `again`: `{path: place}` of containers and arrays that are seen a second time.
    `holders`: `{path: (parent, key)}` of arrays and streams. `sparse`: the ids of tensors made of others.
    """

    def __init__(self):
        self.tensors = {}
        self.values = {}
        self.streams = {}
        self.arrays = {}
        self.buffers = {}
        self.seen = {}
        self.caches = {}
        self.filled = {}
        self.places = {}
        self.again = {}
        self.holders = {}
        self.sparse = set()
        self.skipped = set()
        self._classes = set()
        self._alike = {}
        self._stack = []
        self._tensor = run.torch.Tensor
        self._module = run.torch.nn.Module
        self._optimizer = run.torch.optim.Optimizer
        self._iterator = run.torch.utils.data.dataloader._BaseDataLoaderIter
        self._array = getattr(sys.modules.get("numpy"), "ndarray", ())

    def all(self, frame):
        """Walk from every root; `frame` is the innermost one."""
        frames = user_frames(frame)
        for depth, (code, names) in enumerate(frames):
            owner = USER if is_user_file(code.co_filename) else LIBRARY
            for name, value in names.items():
                if whose.is_users_name(name):
                    self.root("%d:%s:%s" % (depth, code.co_name, name), value, owner, names, name)
        for name in sorted(sys.modules):
            if is_user_module(name) and isinstance(sys.modules[name], types.ModuleType):
                self._globals(name, vars(sys.modules[name]))
        for number, loader in loaders.loaders():
            self.root("<loader%d>" % number, loader, FETCHED)
        self._known()
        return self

    def _known(self):
        """Walk from what we know by weak references; last, for garbage may be alive in one run only."""
        if any(id(x) not in self.seen for _, x in (*boundary.optimizers(), *boundary.modules())):
            gc.collect()
        known = [("optimizer", one) for one in boundary.optimizers()]
        known += [("module", one) for one in boundary.modules()]
        known += [("hook", one) for one in module_hooks.of_all()]
        for kind, (index, thing) in known:
            self.root("<%s%d>" % (kind, index), thing, SKIPPED)
        for index, generator in boundary.generators():
            self.root("<generator%d>" % index, generator, LIBRARY)

    def _globals(self, module, names):
        for name, value in list(names.items()):
            if whose.is_users_name(name):
                self.root("%s.%s" % (module, name), value, USER, names, name)

    def root(self, path, value, owner, parent=None, key=None):
        """Walk from one root."""
        stack = self._stack
        stack.append((value, path, owner, parent, key))
        while stack:
            self._visit(*stack.pop())

    def _visit(self, value, path, owner, parent, key):
        kind = type(value)
        if isinstance(value, self._tensor):
            self._see_tensor(value, path)
            return
        described = value if kind in PLAIN else kinds.form(value, kind)
        if described is not None or value is None:
            self.values[path] = (described, owner, parent, key, None)
            if kind not in PLAIN:
                self._see_described(value, kind, path, owner)
            return
        if kind in kinds.NAMED:
            self._see_named(value, path, owner, parent, key)
        if id(value) in self.seen or isinstance(value, places.STOP):
            self._see_again(value, kind, path, owner)
            return
        copied = plain.copy_of(value) if isinstance(value, plain.CONTAINERS) else None
        if copied is not None:
            self.values[path] = (copied, owner, parent, key, value)
            # Source code gives one tuple wherever it says the same, and nobody can write to it.
            if kind is tuple:
                return
        self.seen[id(value)] = value
        self.places[id(value)] = path
        if len(self.seen) > NODES_MOST:
            raise TooMuch("more than %d Python objects" % NODES_MOST)
        self._see_buffer(value, kind, path, owner)
        self._see_table(value, kind, path, owner)
        if self._is_leaf(value, path, owner):
            self.holders[path] = (parent, key)
        else:
            (self._enter if copied is None else self._see_own)(value, path, owner)

    def _see_described(self, value, kind, path, owner):
        """Enter what a number, a text or a member of an enumeration keeps besides."""
        if owner_of(kind) == USER and id(value) not in self.seen:
            self.seen[id(value)] = value
            self._see_own(value, path, owner)

    def _see_own(self, value, path, owner):
        """Enter what a class made of a plain one has added to a value or container."""
        if type(value).__dictoffset__:
            names, own = places.own_names(value)
            self._push_items(own, path, owner, names)

    def _see_buffer(self, value, kind, path, owner):
        if kind in BUFFERS or hasattr(kind, "data_ptr"):
            self.buffers[id(value)] = (value, path, owner)
            if kind in places.BYTES and owner != LIBRARY:
                self.values[path] = (places.checksum(value), owner, None, None, None)

    def _see_table(self, value, kind, path, owner):
        """Note what is in a table; of one that only fetches reach the arrays are set."""
        if owner == USER and (content := tables.checksum(value, kind)) is not None:
            self.values[path] = (content, owner, None, None, None)

    def _see_named(self, value, path, owner, parent, key):
        """Note for which function or class a name stands; calls may make nameless ones at any time."""
        if owner in (USER, SKIPPED) and parent is not None and not isinstance(parent, type):
            name = kinds.named(value)
            if owner == USER or "<" not in name[2]:
                self.values[path] = (name, owner, parent, key, None)

    def _see_again(self, value, kind, path, owner):
        known = kind in (dict, list, tuple) or id(value) in self.arrays
        if known and owner != LIBRARY and id(value) in self.places:
            self.again[path] = self.places[id(value)]

    def _is_leaf(self, value, path, owner):
        """Take an array or a random stream."""
        if self._array and isinstance(value, self._array):
            self.arrays[id(value)] = (value, path, owner)
            if value.dtype.hasobject:
                self._push_items(enumerate(value.ravel().tolist()), path, owner, None)
            return True
        if rng.is_stream(value):
            self.streams[id(value)] = (value, path, SKIPPED if id(value) in self.skipped else owner)
            return True
        return False

    def _see_tensor(self, tensor, path):
        entry = self.tensors.get(id(tensor))
        if entry is not None:
            entry[1].append(path)
            return
        self.tensors[id(tensor)] = (tensor, [path])
        if tensor.layout is not run.torch.strided and not path.endswith(".grad"):
            for name, part in sparse.parts(tensor):
                self.sparse.add(id(tensor))
                self._see_tensor(part, "%s.%s" % (path, name))
        grad = tensor.grad if tensor.is_leaf or tensor.retains_grad else None
        if grad is not None:
            self._see_tensor(grad, path + ".grad")
        names = getattr(tensor, "__dict__", None)
        if names:
            # The compiler's own marks are there once it has compiled, which a replay does not.
            own = [(name, item) for name, item in names.items() if not name.startswith("_dynamo")]
            self._push_items(own, path, SKIPPED, None)

    def _enter(self, value, path, owner):
        kind = type(value)
        if owner == USER and isinstance(value, plain.CONTAINERS):
            self.values[path + "#"] = (places.order(value), owner, None, None, None)
        if kind is dict or isinstance(value, dict):
            self._enter_dict(value, kind, path, owner)
        elif kind is list or kind is tuple or isinstance(value, (list, tuple, collections.deque)):
            self._enter_sequence(value, kind, path, owner)
        elif isinstance(value, (set, frozenset)):
            self._enter_set(value, path, owner)
        elif isinstance(value, type):
            if owner_of(value) == USER:
                self._push_items(whose.class_items(value), path, owner, value)
                self._see_classes(value.__mro__[1:])
                self._see_classes((type(value),))
        elif isinstance(value, self._module):
            self._see_classes((kind,))
            self._enter_parts(parts.of_module(value), path)
        elif isinstance(value, self._optimizer) and hasattr(value, "param_groups"):
            self._enter_parts(parts.of_optimizer(value), path)
        else:
            self._enter_other(value, kind, path, owner)

    def _enter_dict(self, value, kind, path, owner):
        stack = self._stack
        for index, (key, item) in enumerate(list(value.items())):
            if type(key) in PLAIN and not addresses.is_one(key):
                stack.append((item, "%s[%r]" % (path, key), owner, value, key))
            else:
                stack.append((item, "%s{%d}" % (path, index), owner, value, key))
                stack.append((key, "%s{%d}key" % (path, index), owner, None, None))
        if kind is not dict:
            self._see_own(value, path, owner)

    def _enter_sequence(self, value, kind, path, owner):
        parent = value if isinstance(value, (list, collections.deque)) else None
        stack = self._stack
        for index, item in enumerate(value):
            stack.append((item, "%s[%d]" % (path, index), owner, parent, index))
        if kind is not list and kind is not tuple:
            self._see_own(value, path, owner)

    def _enter_set(self, value, path, owner):
        """Enter what a set holds, as far as it can be told apart; else only see whether it changes."""
        for name, same in places.members(value, (*ATOMS, self._tensor)):
            where = "%s{%s}" % (path, name)
            if len(same) == 1:
                self._stack.append((same[0], where, owner, None, None))
            elif owner != LIBRARY:
                self.values[where] = (places.alike(same), owner, None, None, None)

    def _push_items(self, items, path, owner, parent):
        for key, item in list(items):
            self._stack.append((item, "%s.%s" % (path, key), owner, parent, key))

    def _enter_parts(self, found, path):
        """Enter what a module or an optimizer consists of."""
        for suffix, item, parent, key in found:
            self._stack.append((item, path + suffix, SKIPPED, parent, key))

    def _enter_other(self, value, kind, path, owner):
        if kind in positions.KINDS and owner != LIBRARY:
            self.values[path + "@"] = (positions.of(value, kind), owner, None, None, None)
        held = places.inside(value, kind)
        if held is not None:
            for suffix, item, *place in held:
                whose_it = SKIPPED if place and owner != LIBRARY else owner
                self._stack.append((item, path + suffix, whose_it, *(place or (None, None))))
        elif isinstance(value, types.ModuleType):
            self._enter_namespace(vars(value), owner)
        elif isinstance(value, types.FunctionType):
            self._enter_function(value, path, owner)
        elif isinstance(value, (types.GeneratorType, types.CoroutineType)):
            self._enter_generator(value, path, owner)
        else:
            if kind is CACHE:
                self.caches[id(value)] = path
            self._enter_instance(value, kind, path, owner)

    def _enter_namespace(self, names, owner):
        """Enter the globals of code that the script has loaded, and that no module of `sys.modules` shows."""
        file = names.get("__file__")
        if owner == USER and id(names) not in self.seen and whose.is_foreign(names):
            self.seen[id(names)] = names
            name = whose.alone("<globals %s %s>" % (names.get("__name__"), file), self._alike)
            for key, item in list(names.items()):
                if whose.is_users_name(key):
                    self._stack.append((item, "%s.%s" % (name, key), USER, names, key))

    def _see_classes(self, classes):
        """Enter the user's classes that no module shows: functions have made them."""
        for cls in classes:
            if cls in self._classes:
                continue
            self._classes.add(cls)
            if owner_of(cls) == USER and not whose.is_in_its_module(cls):
                name = "<class %s.%s>" % (cls.__module__, cls.__qualname__)
                self._stack.append((cls, whose.alone(name, self._alike), USER, None, None))

    def _enter_function(self, value, path, owner):
        own, wrapped = dict(vars(value)), None
        if owner == USER and not is_user_file(value.__code__.co_filename):
            # What a library's decorator has wrapped is the script's own all the same.
            wrapped, owner = own.pop("__wrapped__", None), LIBRARY
        if COMPILERS in value.__code__.co_filename:
            # torch 2.1 notes there what it has compiled, and a replay compiles nothing.
            path, owner = "hidden:" + path, LIBRARY
        self._enter_namespace(value.__globals__, owner)
        for index, cell in enumerate(value.__closure__ or ()):
            self._stack.append((cell, "%s<%d>" % (path, index), owner, None, None))
        self._push_items((("defaults", value.__defaults__),), path, owner, None)
        self._push_items((("kwdefaults", value.__kwdefaults__),), path, owner, None)
        # The compiler's own marks, such as a wrapper's number, differ in a replay; what it wraps does not.
        rest = [(k, v) for k, v in own.items() if k[:13] != "_torchdynamo_" or type(v) not in PLAIN]
        self._push_items(rest, path, owner, None)
        if wrapped is not None:
            self._stack.append((wrapped, path + ".__wrapped__", USER, None, None))

    def _enter_generator(self, value, path, owner):
        file, held = inside_generator(value, ATOMS)
        whose_it = owner if is_user_file(file) else LIBRARY
        for suffix, item in held:
            self._stack.append((item, path + suffix, whose_it, None, None))

    def _enter_instance(self, value, kind, path, owner):
        if isinstance(value, self._iterator) or whose.is_closed(kind):
            return
        self._see_classes((kind,))
        if id(value) in self.skipped:
            owner = FETCHED
        elif owner == USER and owner_of(kind) != USER and not whose.is_plain_holder(kind):
            owner = LIBRARY
        names = getattr(value, "__dict__", None)
        if type(names) is dict:
            self._push_items(names.items(), path, owner, value)
        for slot in slots_of(kind):
            item = getattr(value, slot, None)
            if item is not None:
                self._stack.append((item, "%s.%s" % (path, slot), owner, value, slot))
        if type(names) is not dict:
            rest = [x for x in referents(value) if type(x) not in ATOMS and x is not kind]
            for index, item in enumerate(rest):
                self._stack.append((item, "%s~%d" % (path, index), owner, None, None))
