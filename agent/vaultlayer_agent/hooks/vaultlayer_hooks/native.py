"""Who takes the job on after a death: the framework's own resume or the ghost, and never both at once."""

import os
import sys

from vaultlayer_hooks import channel

_own = [None]


def is_restart():
    """Whether this job ran before, and its checkpoints have been put back into place."""
    return os.environ.get("VAULTLAYER_RESUME") == "1"


def is_replaying():
    """Whether the ghost brings the state back in this process."""
    return bool(os.environ.get("VAULTLAYER_GHOST_DIR")) and (
        os.environ.get("VAULTLAYER_GHOST_MODE") == "replay"
    )


def is_ghost_on():
    """Whether the ghost records or replays in this process, and has not given up."""
    if is_replaying():
        return True
    state = sys.modules.get("vaultlayer_hooks.ghost.state")
    return state is not None and state.run.mode != state.OFF


def is_skipping():
    """Whether the steps of this moment are a replay's, and none of them is new."""
    state = sys.modules.get("vaultlayer_hooks.ghost.state")
    return state is not None and state.run.mode == state.REPLAY


def take_over(reason):
    """Switch a recording off, because the framework's own checkpoints resume exactly."""
    if is_replaying() or not is_ghost_on():
        return
    sys.modules["vaultlayer_hooks.ghost.state"].run.give_up(reason)


def snapshot_soon():
    """Ask a recording that has no snapshot yet for one at its next boundary."""
    state = sys.modules.get("vaultlayer_hooks.ghost.state")
    if state is not None and state.run.mode == state.RECORD:
        state.run.snapshot_soon()


def may_resume():
    """Whether a framework may be sent to its own checkpoint: the job ran before, and no ghost does it."""
    return is_restart() and not is_replaying()


def is_own(path):
    """Whether this job made a file: the agent lists what it has put back; without a list, all is ours."""
    listed = os.environ.get("VAULTLAYER_OWN_FILES")
    if not listed:
        return True
    if _own[0] is None:
        with open(listed, "rb") as file:
            _own[0] = frozenset(os.fsdecode(file.read()).split("\0"))
    return os.path.realpath(path) in _own[0]


def tell_resume(framework, exact):
    """Tell the agent that the hooks send this script to its newest checkpoint after a death."""
    channel.tell("native", framework=framework, detail="exact" if exact else "not exact")


def guard(framework, function, *args):
    """Call our own code inside the script: whatever it raises is told, and the script goes on."""
    try:
        return function(*args)
    except Exception as failure:
        channel.tell(
            "hook_failed",
            framework=framework,
            detail=type(failure).__name__ + ": " + str(failure)[:200],
        )
        return None
