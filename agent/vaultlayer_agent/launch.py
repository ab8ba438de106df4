"""Becomes the user's command, after asking the kernel to kill it when the agent dies.

Run as a file by `python -I -S`, with the script's own environment: standard library only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, command: "list[str]") -> int:
    """Replace this process by `command`; give the shell's status when that cannot be done."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            return 137  # the agent died before the kernel knew of our wish
        _prefer_as_victim()
    # An interpreter ignores SIGPIPE and SIGXFSZ, and an ignored signal stays ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606  the user's command is what we are here for
    except FileNotFoundError:
        print(f"{command[0]}: command not found", file=sys.stderr)  # noqa: T201  the script's stream
        return 127
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201  as above
        return 126


def _prefer_as_victim() -> None:
    """When memory runs out the script is to die, not the agent, which has to tell of it."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123  pathlib costs 10 ms here
            file.write("300")
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
