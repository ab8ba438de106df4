"""Random streams: has a skipped call drawn from one, and what state does it leave behind.

The streams of `random` and `numpy.random` run for real in a replay, since the script's own Python draws from
them; where a skipped call has drawn too, the state after it is in the log. A full state costs 20 to 40 us to
read, so two words of it are looked at in place, where a probe has shown that they lie where we think.
"""

import ctypes
import random
import struct
import sys

from vaultlayer_hooks.ghost.state import run

KEY_WORDS = 624


def numpy_random():
    """Give `numpy.random` if the script has imported it."""
    return sys.modules.get("numpy.random")


def _probe_python():
    """Find position and first word of a `random.Random` in memory; None where they cannot be proved."""
    probe = random.Random(7)
    at = id(probe) + object.__basicsize__
    if type(probe).__basicsize__ < object.__basicsize__ + 4 * (KEY_WORDS + 1):
        return None
    words = (ctypes.c_uint32 * (KEY_WORDS + 1)).from_address(at)
    for draws in (0, 1, 5):
        for _ in range(draws):
            probe.random()
        state = probe.getstate()[1]
        if words[0] != state[-1] or tuple(words[1:]) != state[:-1]:
            return None
    return object.__basicsize__


def _probe_numpy(numpy_rng):
    """Find the flag of the cached normal draw in a `RandomState`; None where it cannot be proved."""
    probe = numpy_rng.RandomState(7)
    size = type(probe).__basicsize__
    name, key, position, _, _ = probe.get_state()
    base = id(probe)
    found = None
    for mark in (1.23456789e101, -9.87654321e-77):
        probe.set_state((name, key, position, 1, mark))
        memory = ctypes.string_at(base, size)
        at = memory.find(struct.pack("d", mark))
        if at < 8 or (found is not None and found != at):
            return None
        found = at
    flag = ctypes.c_int.from_address(base + found - 8)
    for want in (0, 1, 0):
        probe.set_state((name, key, position, want, 0.5))
        if flag.value != want:
            return None
    return found - 8


def _at(address, size_b, form):
    """Give a view of memory; indexing it is the fastest way to read an integer that Python has."""
    return memoryview((ctypes.c_char * size_b).from_address(address)).cast("B").cast(form)


class Streams:
    """The two global streams of this process."""

    def __init__(self):
        self._python = None
        self._numpy = None
        self._whole = None
        self._seen_numpy = False
        offset = _probe_python()
        if offset is not None:
            at = id(random._inst) + offset
            # Position and first word at once.
            self._python = _at(at, 8, "Q")

    def mark(self):
        """Give something that changes whenever one of the streams is drawn from or set."""
        if not self._seen_numpy and "numpy.random" in sys.modules:
            self._look_at_numpy()
        # The cached normal draw of `random.gauss` is used up without a change of position.
        if self._whole is not None:
            words, inst, position, first, flag = self._whole
            return (words[0], inst.gauss_next, position[0], first[0], flag[0])
        words = self._python
        python = (words[0], random._inst.gauss_next) if words else random.getstate()
        if not self._seen_numpy:
            return python
        if self._numpy:
            return (python, *[part[0] for part in self._numpy])
        state = numpy_random().get_state()
        return (python, state[2], state[1].tobytes(), state[3:])

    def _look_at_numpy(self):
        numpy_rng = numpy_random()
        self._seen_numpy = True
        try:
            state = numpy_rng.mtrand._rand
            flag = _probe_numpy(numpy_rng)
            address = state._bit_generator.ctypes.state_address
            words = state.get_state()
            position = _at(address + 4 * KEY_WORDS, 4, "i")
            first = _at(address, 4, "I")
            proved = position[0] == words[2] and first[0] == int(words[1][0])
            if flag is not None and proved:
                self._numpy = (position, first, _at(id(state) + flag, 4, "i"))
                if self._python:
                    self._whole = (self._python, random._inst, *self._numpy)
        except Exception:
            self._numpy = None


streams = Streams()


def python_state():
    """Give the state of `random` as plain values."""
    version, words, cached = random.getstate()
    return (version, struct.pack("<625I", *words), cached)


def set_python_state(state):
    """Set what `python_state` gave."""
    version, words, cached = state
    random.setstate((version, struct.unpack("<625I", words), cached))


def numpy_state():
    """Give the state of `numpy.random` as plain values; None before its import."""
    numpy_rng = numpy_random()
    if numpy_rng is None:
        return None
    name, key, position, has_normal, normal = numpy_rng.get_state()
    return (name, key.tobytes(), int(position), int(has_normal), float(normal))


def set_numpy_state(state):
    """Set what `numpy_state` gave, if NumPy's streams are imported by now."""
    numpy_rng = numpy_random()
    if state is not None and numpy_rng is not None:
        name, key, position, has_normal, normal = state
        numpy = sys.modules["numpy"]
        words = numpy.frombuffer(key, dtype=numpy.uint32)
        numpy_rng.set_state((name, words, position, has_normal, normal))


def small_state():
    """Give the states of both."""
    return (python_state(), numpy_state())


def set_small_state(state):
    """Set what `small_state` gave."""
    set_python_state(state[0])
    set_numpy_state(state[1])


def torch_state():
    """Give the states of torch's streams: the processor's and each initialised CUDA device's, as bytes."""
    torch = run.torch
    devices = []
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        devices = [to_bytes(torch.cuda.get_rng_state(i)) for i in range(torch.cuda.device_count())]
    return (to_bytes(torch.get_rng_state()), tuple(devices))


def set_torch_state(state):
    """Set what `torch_state` gave."""
    torch = run.torch
    processor, devices = state
    torch.set_rng_state(from_bytes(processor))
    for index, data in enumerate(devices):
        torch.cuda.set_rng_state(from_bytes(data), index)


def to_bytes(tensor):
    """Give the bytes of a one-dimensional byte tensor on the processor."""
    return ctypes.string_at(tensor.data_ptr(), tensor.numel())


def from_bytes(data):
    """Give a byte tensor of its own memory."""
    return run.torch.frombuffer(bytearray(data), dtype=run.torch.uint8)


def is_stream(value):
    """Whether a value is a random stream of the script's own."""
    return is_kind_of_stream(type(value))


def is_kind_of_stream(kind):
    """Whether the instances of a class are random streams."""
    if issubclass(kind, (random.Random, run.torch.Generator)):
        return True
    numpy_rng = numpy_random()
    return numpy_rng is not None and issubclass(
        kind, (numpy_rng.Generator, numpy_rng.RandomState, numpy_rng.BitGenerator)
    )


def stream_state(value):
    """Give the state of a private stream as plain values; None for one that has no state to read."""
    if isinstance(value, random.Random):
        try:
            version, words, cached = value.getstate()
        except Exception:  # SystemRandom
            return None
        return ("random", version, struct.pack("<625I", *words), cached)
    if isinstance(value, run.torch.Generator):
        return ("torch", to_bytes(value.get_state()))
    if hasattr(value, "get_state"):
        name, key, position, has_normal, normal = value.get_state()
        return ("numpy", name, key.tobytes(), int(position), int(has_normal), float(normal))
    bits = getattr(value, "bit_generator", value)
    return ("bits", _plain(bits.state))


def set_stream_state(value, state):
    """Set what `stream_state` gave."""
    kind = state[0]
    if kind == "random":
        value.setstate((state[1], struct.unpack("<625I", state[2]), state[3]))
    elif kind == "torch":
        value.set_state(from_bytes(state[1]))
    elif kind == "numpy":
        numpy = sys.modules["numpy"]
        key = numpy.frombuffer(state[2], dtype=numpy.uint32)
        value.set_state((state[1], key, state[3], state[4], state[5]))
    else:
        getattr(value, "bit_generator", value).state = _rich(state[1])


def _plain(state):
    if isinstance(state, dict):
        return ("dict", tuple([(key, _plain(value)) for key, value in state.items()]))
    if hasattr(state, "tobytes") and hasattr(state, "dtype") and getattr(state, "shape", ()):
        return ("array", state.dtype.str, state.tobytes())
    return ("value", state.item() if hasattr(state, "item") else state)


def _rich(state):
    if state[0] == "dict":
        return {key: _rich(value) for key, value in state[1]}
    if state[0] == "array":
        return sys.modules["numpy"].frombuffer(state[2], dtype=state[1]).copy()
    return state[1]


def make_stream(state):
    """Make a private stream of the kind that `stream_state` gave, at that state."""
    if state[0] == "random":
        made = random.Random()
    elif state[0] == "torch":
        made = run.torch.Generator()
    elif state[0] == "numpy":
        made = numpy_random().RandomState()
    else:
        numpy_rng = numpy_random()
        made = numpy_rng.Generator(getattr(numpy_rng, _rich(state[1])["bit_generator"])())
    set_stream_state(made, state)
    return made
