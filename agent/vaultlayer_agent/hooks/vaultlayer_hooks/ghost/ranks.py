"""Several ranks: collectives of the script's own loop are skipped in a replay, each rank by its own log.

Those inside skipped calls (a wrapped model, a backward pass) are skipped with them. Set-up's are done for
real, since every rank replays at the same time.
"""

import functools
import pickle
from _thread import get_ident

from vaultlayer_hooks.ghost import log
from vaultlayer_hooks.ghost.state import OFF, REPLAY, run

COLLECTIVES = (
    "all_reduce broadcast reduce all_gather all_gather_into_tensor gather scatter reduce_scatter"
    " reduce_scatter_tensor all_to_all all_to_all_single barrier monitored_barrier send recv isend irecv"
).split()
OBJECTS = {
    "all_gather_object": 0,
    "broadcast_object_list": 0,
    "gather_object": 1,
    "scatter_object_list": 0,
}


class Done:
    """Stands for the work of a collective that a replay has skipped."""

    def wait(self, *_args, **_kwargs):
        return True

    def is_completed(self):
        return True

    def get_future(self):
        future = run.torch.futures.Future()
        future.set_result([])
        return future


def patch(torch):
    """Wrap the collectives that a script calls itself."""
    dist = getattr(torch, "distributed", None)
    if dist is None or not dist.is_available():
        return
    for name in COLLECTIVES:
        original = getattr(dist, name, None)
        if original is not None:
            setattr(dist, name, _collective(original))
    for name, position in OBJECTS.items():
        original = getattr(dist, name, None)
        if original is not None:
            setattr(dist, name, _objects(original, position))


def _collective(original):
    @functools.wraps(original)
    def collective(*args, **kwargs):
        if run.mode == OFF or run.depth or get_ident() != run.main or not run.started:
            return original(*args, **kwargs)
        if run.mode == REPLAY:
            answered = log.take("collective")
            return Done() if answered else None
        run.depth += 1
        try:
            result = original(*args, **kwargs)
        finally:
            run.depth -= 1
        log.note("collective", result is not None)
        return result

    return collective


def _objects(original, position):
    """Log the list that an object collective fills; a rank that gets none logs none."""

    @functools.wraps(original)
    def collective(*args, **kwargs):
        if run.mode == OFF or run.depth or get_ident() != run.main or not run.started:
            return original(*args, **kwargs)
        filled = args[position] if len(args) > position else None
        filled = filled if isinstance(filled, list) else _first_list(kwargs)
        if run.mode == REPLAY:
            data = log.take("objects")
            if filled is not None and data is not None:
                filled[:] = pickle.loads(data)
            return None
        run.depth += 1
        try:
            original(*args, **kwargs)
        finally:
            run.depth -= 1
        log.note("objects", None if filled is None else pickle.dumps(filled, 4))
        return None

    return collective


def _first_list(kwargs):
    for value in kwargs.values():
        if isinstance(value, list):
            return value
    return None
