"""How far iterators and generators have come: calls that a replay skips may have taken from them."""

import itertools
import operator
import types
import warnings

COUNTED = frozenset(
    map(
        type,
        (
            iter([]),
            reversed([]),
            iter(()),
            iter(range(1)),
            iter(range(1 << 70)),
            iter("a"),
            iter("\u2026"),
            iter(b""),
            iter(bytearray()),
            iter({}),
            iter({}.values()),
            iter({}.items()),
            reversed({}),
            iter(set()),
            itertools.repeat(0),
        ),
    )
)
REDUCED = frozenset((enumerate, itertools.islice, itertools.cycle, itertools.accumulate))
GENERATORS = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)
KINDS = COUNTED | REDUCED | {itertools.count, *GENERATORS}


def of(value, kind):
    """Give the position of an iterator of one of `KINDS` as a plain value; None where it cannot be told."""
    if kind in GENERATORS:
        frame = next(
            getattr(value, n) for n in ("gi_frame", "cr_frame", "ag_frame") if hasattr(value, n)
        )
        return frame.f_lasti if frame is not None else None
    if kind is itertools.count:
        return repr(value)
    if kind in COUNTED:
        return _left(value)
    with warnings.catch_warnings():
        # Python means to give up this way of writing iterators down.
        warnings.simplefilter("ignore")
        try:
            return _written(value.__reduce__(), kind)
        except TypeError:
            return None


def _left(value):
    try:
        return operator.length_hint(value, -1)
    except TypeError:  # one that has no end
        return -1


def _written(reduced, kind):
    if kind is enumerate:
        return int(reduced[1][1])
    if kind is itertools.cycle:
        again = len(reduced) > 2 and bool(reduced[2][1])
        return _left(reduced[1][0]) if again else -1
    if kind is itertools.accumulate:
        total = reduced[2] if len(reduced) > 2 else None
        return total if type(total) in (int, float) else None
    ends = [x for x in reduced[1][1:] if x is None or type(x) is int]
    return repr((ends, reduced[2] if len(reduced) > 2 else 0))
