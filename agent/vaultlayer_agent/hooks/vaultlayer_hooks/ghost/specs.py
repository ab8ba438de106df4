"""What a skipped call gave back, as plain values: enough to make a stand-in of the same form.

A spec is a nested tuple of plain values; a ghost is made from it: tensors of zeros with the recorded shape,
type and device inside the recorded containers. Specs are written into the log where they first occur.
"""

import dataclasses
import importlib
import pickle
import sys

from vaultlayer_hooks.ghost.log import note, take
from vaultlayer_hooks.ghost.state import run

PLAIN = (bool, int, float, str, bytes, type(None))
DEPTH_MOST = 12
LEAF_MOST_B = 1 << 20
CLONE_MOST_B = 1 << 16

_numbers = {}
_table = {}
_bases = {}


class Unknown(Exception):
    """A value that no spec describes."""


def spec(value, depth=0):
    """Describe a value.

    Raises:
        Unknown: of a kind that cannot be made again from a description.
    """
    kind = type(value)
    torch = run.torch
    if kind is torch.Tensor or kind is torch.nn.Parameter:
        return _tensor_spec(value)
    if kind in _PLAIN_SET:
        return ("v", value)
    if depth > DEPTH_MOST:
        raise Unknown(kind)
    if kind is list or kind is tuple:
        return ("l" if kind is list else "t", tuple([spec(x, depth + 1) for x in value]))
    if kind is dict:
        return ("d", _pairs(value, depth))
    return _rich(value, kind, depth)


_PLAIN_SET = frozenset(PLAIN)


def _tensor_spec(tensor):
    layout = tensor.layout
    if layout is not run.torch.strided:
        raise Unknown(layout)
    dtype, device = tensor.dtype, tensor.device
    return (
        "T",
        tuple(tensor.shape),
        _spelled.get(dtype) or _spell_type(tensor),
        _spelled.get(device) or _spell(device, str(device)),
        tensor.requires_grad,
        None if tensor.is_contiguous() else tuple(tensor.stride()),
    )


_spelled = {}


def _spell_type(tensor):
    if tensor.is_quantized:
        raise Unknown(tensor.dtype)
    return _spell(tensor.dtype, str(tensor.dtype)[6:])


def _spell(what, text):
    _spelled[what] = text
    return text


def _pairs(mapping, depth):
    pairs = []
    for key, value in mapping.items():
        if type(key) not in _PLAIN_SET:
            raise Unknown(type(key))
        pairs.append((key, spec(value, depth + 1)))
    return tuple(pairs)


def _name(kind):
    if "<locals>" in kind.__qualname__:
        raise Unknown(kind)
    return (kind.__module__, kind.__qualname__)


def _rich(value, kind, depth):
    if isinstance(value, tuple) and hasattr(kind, "_fields"):
        return ("n", _name(kind), tuple([spec(x, depth + 1) for x in value]))
    if isinstance(value, run.torch.Size):
        return ("z", tuple(value))
    # Before the dataclasses: a ModelOutput is both, and only its mapping leaves out what was not given.
    if isinstance(value, dict) or (hasattr(value, "keys") and hasattr(value, "items")):
        return ("m", _name(kind), _pairs(value, depth))
    if dataclasses.is_dataclass(value):
        fields = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return ("c", _name(kind), tuple([(n, spec(v, depth + 1)) for n, v in fields]))
    if is_distribution(kind):
        return ("c", _name(kind), tuple([(n, spec(v, depth + 1)) for n, v in vars(value).items()]))
    return _pickled(value, kind)


def is_distribution(kind):
    """Whether a class is one of torch's distributions, whose parameters are ordinary attributes."""
    return issubclass(kind, run.torch.distributions.Distribution)


def _pickled(value, kind):
    """Small library values (dtypes, devices, enumerations, numbers and arrays of NumPy) as they are."""
    root = kind.__module__.split(".")[0]
    if root in (
        "torch",
        "numpy",
        "enum",
        "datetime",
        "decimal",
        "fractions",
        "pathlib",
    ) or isinstance(value, _enum()):
        if isinstance(value, (run.torch.Tensor, run.torch.nn.Module)):
            raise Unknown(kind)
        # What it holds of tensors is pickled by us, not by the script.
        run.depth += 1
        try:
            data = pickle.dumps(value, 4)
        except Exception as error:
            raise Unknown(kind) from error
        finally:
            run.depth -= 1
        if len(data) <= LEAF_MOST_B:
            return ("p", data)
    raise Unknown(kind)


def _enum():
    module = sys.modules.get("enum")
    return module.Enum if module is not None else ()


def number(described):
    """Give the number of a spec, writing it into the log when it is new."""
    known = _numbers.get(described)
    if known is None:
        known = _numbers[described] = len(_numbers)
        _table[known] = described
        note("S", described)
    return known


def number_of(value):
    """Give the number of a value's spec, or None where no spec describes it."""
    try:
        described = spec(value)
        known = _numbers.get(described)
    except Exception:
        return None
    return number(described) if known is None else known


def take_new():
    """Read the specs that stand next in the log (replay)."""
    while run.cursor < run.end and run.events[run.cursor][0] == "S":
        described = take("S")
        known = _numbers[described] = len(_numbers)
        _table[known] = described


def take_with_specs(kind):
    """Take an event that may be preceded by new specs."""
    take_new()
    return take(kind)


def described(which):
    """Give the spec with number `which`."""
    return _table[which]


def ghost_of(which):
    """Make a ghost of the spec with number `which`."""
    return ghost(_table[which])


def ghost(described):
    """Make a stand-in."""
    kind = described[0]
    if kind == "T":
        return _ghost_tensor(described)
    if kind == "v":
        return described[1]
    if kind == "l":
        return [ghost(x) for x in described[1]]
    if kind == "t":
        return tuple([ghost(x) for x in described[1]])
    if kind == "d":
        return {interned(key): ghost(value) for key, value in described[1]}
    return _ghost_rich(kind, described)


def interned(key):
    """Give the string that source code gives: pickle writes one object once, and equal ones twice."""
    return sys.intern(key) if type(key) is str else key


def _ghost_rich(kind, described):
    if kind == "p":
        return pickle.loads(described[1])
    if kind == "z":
        return run.torch.Size(described[1])
    cls = _class(described[1])
    if kind == "n":
        return cls(*[ghost(x) for x in described[2]])
    made = {interned(key): ghost(value) for key, value in described[2]}
    if kind == "c":
        value = object.__new__(cls)
        for name, field in made.items():
            object.__setattr__(value, name, field)
        return value
    return _mapping(cls, made)


def _mapping(cls, made):
    if issubclass(cls, dict) and not dataclasses.is_dataclass(cls):
        return cls(made)
    try:
        return cls(**made)
    except TypeError:
        return cls(made)


def _class(name):
    module, qualified = name
    found = sys.modules.get(module) or importlib.import_module(module)
    for part in qualified.split("."):
        found = getattr(found, part)
    return found


def _ghost_tensor(described):
    base, version = _bases.get(described, (None, 0))
    # What was written to holds other values than zeros by now, and its history would grow for ever.
    if base is None or base._version != version:
        base = _base(described)
        _bases[described] = (base, base._version)
    if not described[4]:
        return base.detach()
    if base.numel() * base.element_size() <= CLONE_MOST_B:
        return base.clone()
    return base.view_as(base)


def _base(described):
    torch = run.torch
    _, shape, dtype, device, requires_grad, stride = described
    dtype = getattr(torch, dtype)
    # What is made in inference mode has no history and no version.
    with torch.inference_mode(False), torch.enable_grad():
        if stride is None:
            base = torch.zeros(shape, dtype=dtype, device=device)
        else:
            base = torch.empty_strided(shape, stride, dtype=dtype, device=device).zero_()
        return base.requires_grad_().clone() if requires_grad else base


def ghost_pointers():
    """Give the addresses of all storages that ghosts share."""
    return {base.untyped_storage().data_ptr() for base, _ in _bases.values()}


def ghost_tensors():
    """Give the tensors that ghosts are made from."""
    return [base for base, _ in _bases.values()]


def forget_ghosts():
    """Let go of the ghosts' memory."""
    _bases.clear()
