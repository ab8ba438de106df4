"""Times and chance that the user's own code reads: recorded, and the same again in a replay.

Only calls from the user's files are recorded, so libraries keep the real clock. What is read before torch is
imported counts too, for there a script names its run. `VAULTLAYER_GHOST_CLOCK=off` leaves all alone.
"""

import ctypes
import gc
import os
import sys
from _thread import get_ident

from vaultlayer_hooks.ghost import early, log
from vaultlayer_hooks.ghost.state import OFF, REPLAY, is_user_file, run

TIMES = (
    "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns"
).split()
RELATIVE = frozenset(TIMES) - {"time", "time_ns"}
# What reads the clock when it is given no time, and how many arguments it has then.
OF_NOW = {"localtime": 0, "gmtime": 0, "ctime": 0, "asctime": 0, "strftime": 1}
DATES = {"datetime": ("now", "utcnow", "today"), "date": ("today",)}
DAY = ("year", "month", "day")
MOMENT = (*DAY, "hour", "minute", "second", "microsecond")
SEED_B = 16
_last = {}
_shifts = {}
_chance = os.urandom


def _is_off():
    return os.environ.get("VAULTLAYER_GHOST_CLOCK", "").lower() in ("off", "0", "no")


def is_mine(frame):
    """Whether a call from this frame is to be recorded."""
    if run.depth or get_ident() != run.main or not is_user_file(frame.f_code.co_filename):
        return False
    return run.mode != OFF or early.is_on()


def recorded(name, read):
    """Give the plain value that `read` gives and record it, or what was recorded."""
    if run.mode == OFF:
        return early.keep(name, read)
    if run.mode == REPLAY:
        return log.take(name)
    wanted = run.tail.peek() if run.tail is not None else None
    # While the dead run's log goes further than the snapshot, its readings are the right ones.
    value = wanted[1] if wanted is not None and wanted[0] == name else read()
    log.note(name, value)
    return value


# Times ------------------------------------------------------------------------------------------------


def patch_time(module):
    """Wrap the clocks, and the system's randomness."""
    if _is_off():
        return
    for name in TIMES:
        setattr(module, name, _clock(name, getattr(module, name)))
    for name, count in OF_NOW.items():
        setattr(module, name, _of_now(name, getattr(module, name), count, module.struct_time))
    os.urandom = _plain("urandom", os.urandom)


def _clock(name, original):
    def read(*_args, **_kwargs):
        # A class attribute that holds this is a method now, and is called with its instance.
        if not is_mine(sys._getframe(1)):
            return original()
        _last[name] = recorded(name, lambda: original() + _shift(name, original))
        return _last[name]

    return _named(read, name, original)


def _shift(name, original):
    """Let clocks without a common beginning go on where the dead machine's stood."""
    if name not in RELATIVE or not run.went_live or name not in _last:
        return 0
    if name not in _shifts:
        _shifts[name] = _last[name] - original()
    return _shifts[name]


def _of_now(name, original, count, struct_time):
    def read(*args):
        given = len(args) > count and args[count] is not None
        if given or not is_mine(sys._getframe(1)):
            return original(*args)
        if name not in ("localtime", "gmtime"):
            return recorded(name, lambda: original(*args))
        fields = recorded(name, lambda: _fields_of(original()))
        return struct_time(fields[0], {"tm_zone": fields[1], "tm_gmtoff": fields[2]})

    return _named(read, name, original)


def _fields_of(moment):
    return (tuple(moment), moment.tm_zone, moment.tm_gmtoff)


def patch_datetime(module):
    """Wrap what tells the date, in the very classes: their instances are compared by class, and pickled."""
    if _is_off():
        return
    for kind, names in DATES.items():
        cls = getattr(module, kind)
        for name in names:
            _set_method(cls, name, classmethod(_date(kind + "." + name, cls.__dict__.get(name))))


def _date(name, original):
    fields = DAY if name.startswith("date.") else MOMENT

    def read(cls, *args, **kwargs):
        def now():
            return original.__get__(None, cls)(*args, **kwargs)

        if original is None or not is_mine(sys._getframe(1)):
            return now()
        zone = kwargs.get("tz", args[0] if args else None)
        more = {"tzinfo": zone} if zone is not None else {}
        got = recorded(name, lambda: tuple([getattr(now(), field) for field in fields]))
        return cls(*got, **more)

    return _named(read, name.split(".")[1], original)


def _set_method(cls, name, method):
    """Set a method of a class that is written in C."""
    if name not in cls.__dict__:
        return
    try:
        setattr(cls, name, method)
    except TypeError:
        gc.get_referents(cls.__dict__)[0][name] = method
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


# Chance -----------------------------------------------------------------------------------------------


def patch_uuid(module):
    """Wrap the random and the clock kind of UUID."""
    for name in ("uuid1", "uuid4"):
        setattr(module, name, _uuid(name, getattr(module, name), module.UUID))


def _uuid(name, original, kind):
    def read(*args, **kwargs):
        if not is_mine(sys._getframe(1)):
            return original(*args, **kwargs)
        return kind(bytes=recorded(name, lambda: original(*args, **kwargs).bytes))

    return _named(read, name, original)


def patch_secrets(module):
    """Wrap what gives plain values."""
    for name in ("token_bytes", "token_hex", "token_urlsafe", "randbelow", "randbits"):
        setattr(module, name, _plain(name, getattr(module, name)))


def _plain(name, original):
    def read(*args, **kwargs):
        if not is_mine(sys._getframe(1)):
            return original(*args, **kwargs)
        return recorded(name, lambda: original(*args, **kwargs))

    return _named(read, name, original)


def _seed():
    return int.from_bytes(_chance(SEED_B), "little")


def patch_random(module):
    """Wrap seeding without a seed."""
    original = module.Random.seed

    def seed(self, a=None, version=2):
        if a is None and type(self) is not module.SystemRandom and is_mine(_caller(module)):
            a = recorded("random.seed", _seed)
        return original(self, a, version)

    module.Random.seed = _named(seed, "seed", original)
    module.seed = module._inst.seed


def _caller(module):
    """Give the frame that called into a module of Python source."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename == module.__file__:
        frame = frame.f_back
    return frame


def patch_numpy(module):
    """Wrap seeding without a seed; the classes cannot be, and a stream of theirs is told when it differs."""
    for name in ("default_rng", "seed"):
        setattr(module, name, _seeded("numpy." + name, getattr(module, name)))


def _seeded(name, original):
    def seeded(seed=None):
        if seed is None and is_mine(sys._getframe(1)):
            value = recorded(name, _seed)
            seed = value if name.endswith("rng") else _words(value)
        return original(seed)

    return _named(seeded, name.split(".")[1], original)


def _words(value):
    return [(value >> shift) & 0xFFFFFFFF for shift in range(0, 8 * SEED_B, 32)]


def patch_torch(torch):
    """Wrap the seed that torch chooses."""
    original = torch.seed

    def seed():
        if not is_mine(sys._getframe(1)):
            return original()
        value = recorded("torch.seed", original)
        torch.manual_seed(value)
        return value

    torch.seed = torch.random.seed = _named(seed, "seed", original)


def _named(function, name, original):
    function.__name__ = function.__qualname__ = name
    function.__doc__ = original.__doc__
    return function
