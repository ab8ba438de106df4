"""What `functools.lru_cache` keeps: it lies in C memory, where no walk sees it, but the collector does.

A call that a replay skips may have filled a cache. Then its function is called again with the arguments that
are its keys, in the order of their last use, and what it gives is restored like any other tensor.
"""

from gc import get_objects, get_referents

from vaultlayer_hooks.ghost import boundary, specs
from vaultlayer_hooks.ghost.plain import PLAIN
from vaultlayer_hooks.ghost.state import Diverged, is_user_file, run
from vaultlayer_hooks.ghost.walk import CACHE, LIBRARY

DEPTH_MOST = 4


def content(cache):
    """Give `(key, result)` of each entry, the one that was used longest ago first."""
    inside, known = get_referents(cache), cache.cache_info()
    if not known.currsize:
        return []
    if known.maxsize is None:
        return list(next(held for held in inside if type(held) is dict).items())
    at = 1 if inside[0] is CACHE else 0
    # From Python 3.10 on an entry names its class, too.
    stride = 3 if getattr(inside[at + 2], "__name__", "") == "_lru_list_elem" else 2
    return [tuple(inside[n : n + 2]) for n in range(at, at + stride * known.currsize, stride)]


def see(walk, caches, missing):
    """Add to a walk what caches hold: of the script's own functions, or tensors that are missing."""
    wanted = {id(tensor) for tensor in missing}
    named = {}
    for cache in caches:
        path = walk.caches.get(id(cache), "")
        held = _tensors(cache) if cache.cache_info().currsize else ()
        if held and ((path and _is_users(cache)) or any(id(t) in wanted for t in held)):
            named.setdefault(path or _name(cache), []).append(cache)
    walk.filled = {name: same[0] for name, same in named.items() if len(same) == 1}
    for name, cache in sorted(walk.filled.items()):
        for number, entry in enumerate(content(cache)):
            walk.root("hidden:cache:%s[%d]" % (name, number), entry, LIBRARY)


def _name(cache):
    return "%s.%s" % (cache.__module__, cache.__qualname__)


def _is_users(cache):
    code = getattr(cache.__wrapped__, "__code__", None)
    return code is not None and is_user_file(code.co_filename)


def _tensors(cache):
    """Give the tensors in a cache that are not of set-up."""
    level, found = [x for entry in content(cache) for x in entry], []
    for _ in range(DEPTH_MOST):
        found += [x for x in level if isinstance(x, run.torch.Tensor)]
        inside = [x for x in level if isinstance(x, (list, tuple, dict))]
        level = [x for held in inside for x in (held.values() if isinstance(held, dict) else held)]
    return [tensor for tensor in found if not run.constants.holds(tensor)]


def state(walk):
    """Give what a snapshot keeps: `((name, arguments, hits and misses), …)`.

    Arguments that cannot be written down are None; of libraries' functions no counts are kept.
    """
    found = []
    for name, cache in sorted(walk.filled.items()):
        calls = tuple([_arguments(cache, key) for key, _ in content(cache)])
        found.append((name, calls, tuple(cache.cache_info()[:2]) if _is_users(cache) else None))
    return tuple(found)


def _arguments(cache, key):
    """Give the arguments that a key stands for, written down, or None."""
    if cache.cache_parameters()["typed"]:
        return None
    given = key if type(key) is tuple else (key,)
    # A bare object parts those by position from names and values.
    ends = [number for number, x in enumerate(given) if type(x) is object]
    count = ends[0] if ends else len(given)
    written = [_written(x) for x in (*given[:count], *given[count + 1 :])]
    return None if None in written else (count, tuple(written))


def _written(value):
    if isinstance(value, run.torch.nn.Module):
        for number, root in boundary.modules():
            for path, module in root.named_modules():
                if module is value:
                    return ("module", number, path)
        return None
    if type(value) is tuple:
        parts = tuple([_written(x) for x in value])
        return None if None in parts else ("tuple", parts)
    known = type(value) in PLAIN or type(value) in (run.torch.dtype, run.torch.device)
    return ("spec", specs.spec(value)) if known else None


def _read(written):
    kind, *rest = written
    if kind == "module":
        return dict(boundary.modules())[rest[0]].get_submodule(rest[1])
    return tuple(map(_read, rest[0])) if kind == "tuple" else specs.ghost(rest[0])


def refill(recorded, walk):
    """Call again what skipped calls have called; give whether any cache has changed.

    Raises:
        Diverged: a cache cannot be brought to where it was.
    """
    there = {}
    for cache in [x for x in get_objects() if type(x) is CACHE] if recorded else ():
        there.setdefault(walk.caches.get(id(cache)) or _name(cache), []).append(cache)
    changed = False
    for name, calls, counts in recorded:
        same = there.get(name, ())
        if len(same) != 1:
            raise Diverged("a cached function is gone in the replay: %s" % name)
        changed = _refill_one(name, same[0], calls, counts) or changed
    return changed


def _refill_one(name, cache, calls, counts):
    now = tuple([_arguments(cache, key) for key, _ in content(cache)])
    if now == calls and (counts is None or counts == tuple(cache.cache_info()[:2])):
        return False
    if None in calls:
        raise Diverged("a skipped call has filled the cache of %s" % name)
    run.depth += 1
    try:
        with run.torch.no_grad():
            for call in calls:
                _call(cache, call)
            while calls and counts is not None and cache.cache_info().hits < counts[0]:
                _call(cache, calls[-1])
    except Exception as failure:
        raise Diverged("%s cannot be called again: %s" % (name, failure)) from failure
    finally:
        run.depth -= 1
    now = tuple([_arguments(cache, key) for key, _ in content(cache)])
    if now != calls or counts not in (None, tuple(cache.cache_info()[:2])):
        raise Diverged("the cache of %s is not what it was" % name)
    return True


def _call(cache, written):
    count, values = written[0], list(map(_read, written[1]))
    names = values[count:]
    return cache(*values[:count], **dict(zip(names[::2], names[1::2])))
