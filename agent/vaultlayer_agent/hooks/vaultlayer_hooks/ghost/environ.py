"""What the loop changes in its environment: skipped calls may have, so it is there again after a replay."""

import os

OURS = "VAULTLAYER_"
_began = {}


def begin():
    """Note what set-up, which a replay executes, has left."""
    _began.clear()
    _began.update(os.environ)


def changes():
    """Give `{name: value}` of what has changed since; None for what is gone."""
    now = dict(os.environ)
    names = [n for n in {**_began, **now} if _began.get(n) != now.get(n)]
    return {name: now.get(name) for name in names if not name.startswith(OURS)}


def put(recorded):
    """Set what `changes` gave."""
    for name, value in recorded.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
