"""Tensors that skipped calls have put into dicts and lists: masks that `forward` makes at first use.

A replay does not make them, so each gets a stand-in in its place, which is filled like any other tensor.
Where the place is not certain, nothing is put, and the replay diverges.
"""

import ast
import collections

from vaultlayer_hooks.ghost.state import run

DICTS = (dict, collections.OrderedDict, collections.defaultdict)


def refill(entries, walk):
    """Put stand-ins where tensors are missing in containers that hold no other things; give whether any was.

    Args:
        entries: of the snapshot's tensors, as they were seen: the last of a container first.
        walk: of the replay.
    """
    there = {path for _, paths in walk.tensors.values() for path in paths}
    holders = {path: walk.seen[number] for number, path in walk.places.items()}
    wanted = {}
    for entry in reversed(entries):
        path = entry["paths"][0]
        place = _place(path, holders)
        if place is not None:
            wanted.setdefault(place[0], []).append((place[1], path, entry))
    was_any = False
    for holder, items in wanted.items():
        if any(path not in there for _, path, _ in items):
            was_any = _refill_one(holders[holder], items, there) or was_any
    return was_any


def _place(path, holders):
    """Give the path of the dict or list that holds a tensor directly, and the key or index there."""
    end = path.rfind("[")
    while end > 0 and path[:end] not in holders:
        end = path.rfind("[", 0, end)
    if end <= 0 or type(holders[path[:end]]) not in (*DICTS, list) or path[-1] != "]":
        return None
    try:
        return path[:end], ast.literal_eval(path[end + 1 : -1])
    except (ValueError, SyntaxError):
        return None


def _refill_one(container, items, there):
    """Append what is missing, where all that is there comes first and in its order."""
    new = [(key, entry) for key, path, entry in items if path not in there]
    old = [key for key, path, _ in items if path in there]
    keys = list(container) if type(container) in DICTS else list(range(len(container)))
    plain = all(_can_be_made(entry) for _, entry in new)
    if not plain or keys != old or [key for key, _, _ in items[: len(old)]] != old:
        return False
    if type(container) is list and [key for key, _, _ in items] != list(range(len(items))):
        return False
    for key, entry in new:
        made = _made(entry)
        if type(container) is list:
            container.append(made)
        else:
            container[key] = made
    return True


def _can_be_made(entry):
    """Whether it is a tensor by one name, and no parameter or part of a graph."""
    return not entry["requires_grad"] and entry["storage"] >= 0 and len(entry["paths"]) == 1


def _made(entry):
    torch = run.torch
    return torch.zeros(entry["shape"], dtype=getattr(torch, entry["dtype"]), device=entry["device"])
