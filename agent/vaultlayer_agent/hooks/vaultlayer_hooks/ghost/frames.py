"""The frames of the script: what they name, without keeping it alive."""

import sys

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
