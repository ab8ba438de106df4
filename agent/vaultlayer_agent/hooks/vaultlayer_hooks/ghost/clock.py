"""Times and system randomness that the user's own code reads: recorded, and the same again in a replay.

Only calls from the user's files are recorded, so libraries keep the real clock. `VAULTLAYER_GHOST_CLOCK=off`
leaves the functions alone.
"""

import os
import sys
import time
from _thread import get_ident

from vaultlayer_hooks.ghost import log
from vaultlayer_hooks.ghost.state import OFF, REPLAY, is_user_file, run

TIMES = (
    "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns"
).split()
RELATIVE = frozenset(TIMES) - {"time", "time_ns"}
_last = {}
_shifts = {}


def patch():
    """Wrap the clocks and the system's randomness."""
    if os.environ.get("VAULTLAYER_GHOST_CLOCK", "").lower() in ("off", "0", "no"):
        return
    for name in TIMES:
        setattr(time, name, _read(name, getattr(time, name), takes=False))
    os.urandom = _read("urandom", os.urandom, takes=True)


def patch_uuid(module):
    """Wrap the random and the clock kind of UUID."""
    for name in ("uuid1", "uuid4"):
        original = getattr(module, name)
        setattr(module, name, _uuid(name, original, module.UUID))


def patch_secrets(module):
    """Wrap what gives plain values."""
    for name in ("token_bytes", "token_hex", "token_urlsafe", "randbelow", "randbits"):
        setattr(module, name, _read(name, getattr(module, name), takes=True))


def _mine(frame):
    return (
        run.mode != OFF
        and run.depth == 0
        and get_ident() == run.main
        and is_user_file(frame.f_code.co_filename)
    )


def _again(name):
    """Give what the dead run read here, while its log goes further than the snapshot; else None."""
    wanted = run.tail.peek()
    return wanted[1] if wanted is not None and wanted[0] == name else None


def _shift(name, original):
    """Let clocks without a common beginning go on where the dead machine's stood."""
    if name not in RELATIVE or not run.went_live or name not in _last:
        return 0
    if name not in _shifts:
        _shifts[name] = _last[name] - original()
    return _shifts[name]


def _read(name, original, takes):
    def read(*args, **kwargs):
        if not takes:
            # A class attribute that holds this is a method now, and is called with its instance.
            args, kwargs = (), {}
        if not _mine(sys._getframe(1)):
            return original(*args, **kwargs)
        if run.mode == REPLAY:
            _last[name] = log.take(name)
            return _last[name]
        value = _again(name) if run.tail is not None else None
        if value is None:
            value = original(*args, **kwargs)
            shift = _shift(name, original)
            value = value + shift if shift else value
        _last[name] = value
        log.note(name, value)
        return value

    read.__name__ = read.__qualname__ = name
    read.__doc__ = original.__doc__
    return read


def _uuid(name, original, kind):
    def read(*args, **kwargs):
        if not _mine(sys._getframe(1)):
            return original(*args, **kwargs)
        if run.mode == REPLAY:
            return kind(bytes=log.take(name))
        value = original(*args, **kwargs)
        log.note(name, value.bytes)
        return value

    read.__name__ = read.__qualname__ = name
    return read
