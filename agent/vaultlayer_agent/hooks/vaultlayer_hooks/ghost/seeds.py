"""Where the global random streams begin, for scripts that set no seed.

`random` and `numpy.random` seed themselves from the system when they are imported. What they began with is
kept at their import, which may come long before that of torch, and a replay begins with the same.
"""

import os

from vaultlayer_hooks.ghost import log, rng
from vaultlayer_hooks.ghost.state import OFF, known_name, run

_began = {}
_recorded = {}


def begin_python():
    """The script has imported `random`."""
    _begin("random", rng.python_state, rng.set_python_state)


def begin_numpy():
    """The script has imported `numpy.random`."""
    _begin("numpy", rng.numpy_state, rng.set_numpy_state)


def _begin(name, get, put):
    top = os.environ.get("VAULTLAYER_GHOST_DIR")
    me = known_name() if top else None
    if me is None:
        return
    if os.environ.get("VAULTLAYER_GHOST_MODE") == "replay":
        state = _read(os.path.join(top, me)).get(name)
        if state is not None:
            put(state)
        return
    _began[name] = get()
    if run.mode != OFF:
        log.note("seed", (name, _began[name]))


def _read(directory):
    """Give the recorded beginnings; a damaged log is told when torch is imported."""
    if not _recorded:
        try:
            kind, value = log.first(directory)
            _recorded.update(dict(value[0]) if kind == "start" else {})
        except Exception:
            pass
    for name, state in run.seeds:
        _recorded.setdefault(name, state)
    return _recorded


def began():
    """Give the beginnings that were seen before torch was imported."""
    return tuple(sorted(_began.items()))
