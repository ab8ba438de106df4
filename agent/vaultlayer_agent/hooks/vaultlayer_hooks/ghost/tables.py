"""Tables of pandas that are the script's own: skipped calls may write to them, so columns are compared.

By columns, for which of them lie together is pandas' own affair, and reading may change it.
"""

import zlib


def checksum(value, kind):
    """Give what tells one content of the numbers and dates of a table or column from another.

    None of what is no table; texts and objects do not count.
    """
    if not kind.__module__.startswith("pandas") or not hasattr(value, "_mgr"):
        return None
    sums = {}
    for block in getattr(value._mgr, "blocks", ()):
        held = getattr(block.values, "_ndarray", block.values)
        if hasattr(held, "__array_interface__") and not held.dtype.hasobject:
            rows = held if held.ndim > 1 else [held]
            for position, row in zip(block.mgr_locs, rows):
                sums[int(position)] = zlib.crc32(row.tobytes())
    return "%d:%d" % (len(sums), zlib.crc32(repr(sorted(sums.items())).encode()))
