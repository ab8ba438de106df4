"""The frames of the script: what they name, without keeping it alive."""

import sys
from gc import get_referents

from vaultlayer_hooks.ghost.state import HOOKS_DIR


def user_frames(frame):
    """Give `(code, locals)` of every frame outside the hooks, outermost first; not the module level of main.

    Names of a module level are globals, and those are walked by themselves.
    """
    found = []
    while frame is not None:
        code = frame.f_code
        name = code.co_filename
        if not name.startswith("<frozen") and not name.startswith(HOOKS_DIR):
            at_module = frame.f_locals is frame.f_globals if code.co_name == "<module>" else False
            found.append((code, {} if at_module else read_locals(frame)))
        frame = frame.f_back
    return found[::-1]


def read_locals(frame):
    """Give a copy of a frame's locals.

    Up to Python 3.12 reading them leaves a dict in the frame that would hold every tensor until the frame is
    looked at again; so it is emptied, unless the script itself has asked for it. Where threads are traced or
    profiled it is not, for a frame takes its variables back from there.
    """
    names = frame.f_locals
    copied = dict(names)
    optimized = frame.f_code.co_flags & 1
    if sys.version_info < (3, 13) and optimized and sys.getrefcount(names) <= 3:
        if not _are_threads_traced():
            names.clear()
    return copied


def _are_threads_traced():
    threading = sys.modules.get("threading")
    return any(getattr(threading, name, None) for name in ("_trace_hook", "_profile_hook"))


def inside_generator(value, besides):
    """Give the source file of a generator or coroutine, and `(suffix, thing)` of what waits in it.

    `besides`: classes of which nothing on its value stack matters.
    """
    frame = getattr(value, "gi_frame", None) or getattr(value, "cr_frame", None)
    if frame is None:
        return "", []
    names = read_locals(frame)
    found = [(":%s" % name, item) for name, item in names.items()]
    held = {id(item) for item in names.values()}
    inside = get_referents(value)
    if sys.version_info < (3, 11):
        # Up to Python 3.10 the value stack is the frame's own, beside its namespaces.
        inside += [x for x in get_referents(frame) if type(x) is not dict]
    rest = [x for x in inside if id(x) not in held and type(x) not in besides]
    return frame.f_code.co_filename, found + [("~%d" % n, item) for n, item in enumerate(rest)]
