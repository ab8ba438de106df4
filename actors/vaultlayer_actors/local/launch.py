"""Becomes another program after asking the kernel to end it together with its parent.

Standard library only, started as `python -I -S launch.py PARENT_PID PROGRAM ARGUMENT…`. A step of its own,
because code between fork and exec of a process with threads may deadlock.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Set the death signal where the kernel has one, and run the program."""
    parent, program = int(sys.argv[1]), sys.argv[2]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            # It died before the kernel was asked.
            sys.exit(75)
    os.execv(program, sys.argv[2:])  # noqa: S606  the arguments come from the broker itself


if __name__ == "__main__":
    main()
