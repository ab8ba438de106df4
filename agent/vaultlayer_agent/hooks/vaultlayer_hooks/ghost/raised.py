"""Errors that skipped calls have raised, and that the script may have caught: raised again by a replay.

Out of memory, a matrix that is not positive definite: a loop that halves its batch or adds a jitter goes on.
"""

import pickle

from vaultlayer_hooks.ghost import log
from vaultlayer_hooks.ghost.rng import set_small_state
from vaultlayer_hooks.ghost.state import run


def note(kind, error, state=None):
    """Record an error; `state`: of the small random streams, where the call has drawn from them."""
    log.note("raised", (kind, _packed(error), state))


def _packed(error):
    try:
        data = pickle.dumps(error, 4)
        pickle.loads(data)
    except Exception:
        return None
    return data


def again(kind):
    """Raise what the recorded call of this kind raised, if it did; after `module_hooks.play`."""
    if log.peek() != "raised":
        return
    recorded, data, state = log.take("raised")
    if recorded != kind:
        run.diverge("recorded an error of %r, but the script asked for %r" % (recorded, kind))
    if data is None:
        run.diverge("an error that %r raised cannot be raised again" % kind)
    if state is not None:
        set_small_state(state)
    raise pickle.loads(data)


def fetch_again(iterator, is_real):
    """Raise what a fetch has raised; an iterator that fetches for real fails by itself first."""
    if is_real:
        run.depth += 1
        try:
            next(iterator)
        except Exception:
            pass
        finally:
            run.depth -= 1
    again("fetch")
