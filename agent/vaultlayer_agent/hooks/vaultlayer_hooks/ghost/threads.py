"""Other threads of the script: what they hold cannot be put back into them, so no snapshot overlooks it.

A thread that fetches ahead holds batches in its frames and in queues. A replay runs it for real, but nobody
can say that it stands where it stood; so as long as there is one, there is no snapshot, and it is told why.
"""

import dis
import sys
from _thread import get_ident

from vaultlayer_hooks.ghost.frames import read_locals
from vaultlayer_hooks.ghost.state import HOOKS_DIR, is_user_file, run
from vaultlayer_hooks.ghost.walk import LIBRARY, TooMuch, Walk

# Workers of loaders are filled anew; what their threads hold is theirs.
OWN = ("torch/utils/data/_utils/", "torch/_inductor/", "torch/_dynamo/")
WAITS = ("/threading.py", "/queue.py", "/selectors.py", "/socket.py", "/subprocess.py")
WAITING = frozenset(("sleep", "wait", "join", "get", "acquire", "select", "poll"))
QUEUES = ("queue", "_queue", "multiprocessing.queues", "multiprocessing.connection")


def holder(walk, ours):
    """Give which other thread holds something of the training's, in words; "" when none does.

    Args:
        walk: of all that the main thread reaches.
        ours: ids of tensors that are not the script's.
    """
    # Iterators of other threads are found beside those that the main thread's frames hide.
    named = {i for i, (_, paths) in walk.tensors.items() if not paths[0].startswith("hidden:")}
    for ident, frames in stacks():
        if why := _why(frames, walk, named | set(ours)):
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


def _why(frames, walk, known):
    names = [frame.f_code.co_filename for frame in frames]
    if _is_not_the_scripts(names):
        return ""
    own = any(map(is_user_file, names))
    other = Walk()
    try:
        for depth, frame in enumerate(frames):
            for name, value in read_locals(frame).items():
                other.root("%d:%s" % (depth, name), value, LIBRARY)
    except TooMuch:
        return "holds more than can be looked through" if own else ""
    if not known.issuperset(other.tensors):
        return "holds tensors"
    if own and any(type(x).__module__ in QUEUES for x in other.seen.values()):
        return "runs the script's own code beside a queue"
    if own and _is_writing(frames) and any(map(run.files.is_written, other.seen.values())):
        return "writes to a file"
    if own and (other.streams or any(i not in walk.arrays for i in other.arrays)):
        return "holds arrays or random streams"
    return ""


def are_beside():
    """Whether another thread runs the script's own code, or a library's that does not merely wait."""
    for _, frames in stacks():
        names = [frame.f_code.co_filename for frame in frames]
        works = any(map(is_user_file, names)) or _is_writing(frames)
        if works and not _is_not_the_scripts(names):
            return True
    return False


def _is_not_the_scripts(names):
    """Whether a thread is ours, or works for a loader or a compiler."""
    return any(part in name for name in names for part in OWN) or _is_hooks(names)


def _is_hooks(names):
    """Whether a thread is ours; one of the script's may be inside a call that the hooks have wrapped."""
    outermost = [name for name in names if not name.endswith("/threading.py")][-1:]
    return any(name.startswith(HOOKS_DIR) for name in outermost)


def _is_writing(frames):
    """Whether a thread does something else than wait: for a time, a lock, or a queue."""
    innermost = frames[0]
    if innermost.f_code.co_filename.endswith(WAITS):
        return False
    starts = [at for at, _ in dis.findlinestarts(innermost.f_code)]
    begin = max((at for at in starts if at <= innermost.f_lasti), default=0)
    end = min((at for at in starts if at > innermost.f_lasti), default=1 << 30)
    line = [i.argval for i in dis.get_instructions(innermost.f_code) if begin <= i.offset < end]
    return not WAITING.intersection(name for name in line if isinstance(name, str))


def _name(ident):
    threading = sys.modules.get("threading")
    thread = getattr(threading, "_active", {}).get(ident)
    return repr(thread.name) if thread is not None else "%d" % ident
