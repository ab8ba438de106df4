"""What the script read of clocks and chance before it imported torch, when no log was open yet.

It is kept in memory, goes into the log's first event, and is given again in a replay, in the same order.
"""

import os

from vaultlayer_hooks.ghost import log
from vaultlayer_hooks.ghost.state import OFF, known_name, run

MOST = 10_000
_kept = []
_recorded = {}


def is_on():
    """Whether this is before the import of torch, in a process that may be recorded or replayed."""
    return run.mode == OFF and run.torch is None and len(_kept) < MOST and _directory() is not None


def _directory():
    top = os.environ.get("VAULTLAYER_GHOST_DIR")
    name = known_name() if top else None
    return os.path.join(top, name) if name else None


def keep(kind, read):
    """Give what `read` gives, or in a replay what it gave; the values are plain."""
    value = read() if os.environ.get("VAULTLAYER_GHOST_MODE") != "replay" else _again(kind, read)
    _kept.append((kind, value))
    return value


def _again(kind, read):
    if "events" not in _recorded:
        _recorded["events"] = _load()
    events, at = _recorded["events"], len(_kept)
    if at < len(events) and events[at][0] == kind:
        return events[at][1]
    # The script reads something else than it did, which will be told where its values are compared.
    _recorded["events"] = ()
    return read()


def _load():
    """Read the beginning of the log; a damaged one is told when torch is imported."""
    try:
        kind, value = log.first(_directory())
        return value[2] if kind == "start" else ()
    except Exception:
        return ()


def kept():
    """Give all that was kept."""
    return tuple(_kept)
