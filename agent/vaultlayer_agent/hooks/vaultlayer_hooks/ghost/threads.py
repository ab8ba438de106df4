"""Other threads of the script: what they hold cannot be put back into them, so no snapshot overlooks it.

A thread that fetches ahead holds batches in its frames and in queues. A replay runs it for real, but nobody
can say that it stands where it stood; so as long as there is one, there is no snapshot, and it is told why.
"""

import sys
from _thread import get_ident

from vaultlayer_hooks.ghost.frames import read_locals
from vaultlayer_hooks.ghost.state import HOOKS_DIR, is_user_file
from vaultlayer_hooks.ghost.walk import LIBRARY, TooMuch, Walk

# Workers of loaders are filled anew; what their threads hold is theirs.
OWN = ("torch/utils/data/_utils/", "torch/_inductor/", "torch/_dynamo/")
QUEUES = ("queue", "_queue", "multiprocessing.queues", "multiprocessing.connection")


def holder(walk, ours):
    """Give which other thread holds something of the training's, in words; "" when none does.

    Args:
        walk: of all that the main thread reaches.
        ours: ids of tensors that are not the script's.
    """
    for ident, frames in stacks():
        if why := _why(frames, walk, ours):
            return "the thread %s %s" % (_name(ident), why)
    return ""


def stacks():
    """Give `(ident, frames)` of every other thread, the innermost frame first."""
    running = sys._current_frames()
    # A name for our own frame in this very frame would keep all that we look at until the next sweep.
    running.pop(get_ident(), None)
    found = []
    for ident, frame in running.items():
        frames = []
        while frame is not None:
            frames.append(frame)
            frame = frame.f_back
        found.append((ident, frames))
    return found


def _why(frames, walk, ours):
    names = [frame.f_code.co_filename for frame in frames]
    if any(name.startswith(HOOKS_DIR) or part in name for name in names for part in OWN):
        return ""
    own = any(map(is_user_file, names))
    other = Walk()
    try:
        for depth, frame in enumerate(frames):
            for name, value in read_locals(frame).items():
                other.root("%d:%s" % (depth, name), value, LIBRARY)
    except TooMuch:
        return "holds more than can be looked through" if own else ""
    if any(i not in walk.tensors and i not in ours for i in other.tensors):
        return "holds tensors"
    if own and any(type(x).__module__ in QUEUES for x in other.seen.values()):
        return "runs the script's own code beside a queue"
    if own and (other.streams or any(i not in walk.arrays for i in other.arrays)):
        return "holds arrays or random streams"
    return ""


def _name(ident):
    threading = sys.modules.get("threading")
    thread = getattr(threading, "_active", {}).get(ident)
    return repr(thread.name) if thread is not None else "%d" % ident
