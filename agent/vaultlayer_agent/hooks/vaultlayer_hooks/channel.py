"""The line to the agent: JSON lines over a unix socket, both ways.

Telling never raises and never waits; what the agent does not take is dropped, steps first. Asking waits for
the agent's answer, at most `ASK_S` or the kind's own patience, and stops asking an agent that has not
answered three times running. A forked child (a loader worker) inherits the socket but must not write into its
parent's conversation, so it stays silent.
"""

import _socket  # the `socket` module costs 8 ms to import, this one half a millisecond
import _thread
import os
import time

ASK_S = 0.25
BUFFER_B = 65536
PATIENCE_S = {"snapshot_begin": 10.0, "checkpoint_end": 2.0}
"""What is worth waiting longer for: nothing may be written while the job's files are put aside.

A busy machine lets the agent wait; a log that had gone on meanwhile would have lines twice after a restart.
"""
SILENT_MOST = 3
READ_EVERY_S = 0.05

_clock = time.monotonic  # as it was before anything wrapped it


class Channel:
    """One connection of one process."""

    def __init__(self, path):
        self._pid = os.getpid()
        world = os.environ.get("WORLD_SIZE", "")
        self._world = int(world) if world.isdigit() else 1
        self._lock = _thread.allocate_lock()
        self._out = bytearray()
        self._in = bytearray()
        self._inbox = []
        self._asked = 0
        self._silent = 0
        self._read_at = 0.0
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        os.set_inheritable(self._sock.fileno(), False)
        self._sock.settimeout(ASK_S)
        self._sock.connect(path)

    def greet(self, version):
        """Say that the hooks are in place; written by hand, because `json` costs 6 ms to import."""
        self._out += b'{"kind": "hello", "pid": %d, "version": %d}\n' % (self._pid, version)
        self._flush()

    def tell(self, kind, drop=False, **fields):
        """Send an event; `drop` marks one that may be lost when the agent is slow."""
        if not self._take(0 if drop else ASK_S):
            return
        try:
            if not (drop and self._out):
                self._put(kind, fields)
            self._flush()
        finally:
            self._lock.release()

    def ask(self, kind, **fields):
        """Send an event and wait until the agent has dealt with it; whether it has."""
        if not self._take(ASK_S):
            return False
        try:
            self._asked += 1
            self._put(kind, dict(fields, ask=self._asked))
            self._flush()
            if self._silent >= SILENT_MOST:
                return False
            wait_s = PATIENCE_S.get(kind, ASK_S)
            answered = self._wait(self._asked, _clock() + wait_s)
            self._silent = 0 if answered else self._silent + 1
            return answered
        finally:
            self._lock.release()

    def read(self):
        """Give what the agent has said since the last call; a system call each 50 ms at most."""
        now = _clock()
        if not self._inbox and now - self._read_at < READ_EVERY_S:
            return []
        if not self._take(0):
            return []
        try:
            self._read_at = now
            self._receive(0.0)
            said, self._inbox = self._inbox, []
            return said
        finally:
            self._lock.release()

    def _take(self, wait_s):
        # A signal handler may run while its own thread holds the lock, so no wait is endless.
        if self._sock is None or os.getpid() != self._pid:
            return False
        return self._lock.acquire(True, wait_s) if wait_s else self._lock.acquire(False)

    def _put(self, kind, fields):
        import json

        if self._world > 1:
            fields = dict(fields, world=self._world)
        line = json.dumps(dict(fields, kind=kind, pid=self._pid)).encode() + b"\n"
        if len(self._out) + len(line) <= BUFFER_B:
            self._out += line

    def _flush(self):
        if self._sock is None:
            return
        self._sock.settimeout(0.0)
        try:
            while self._out:
                sent = self._sock.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._close()

    def _wait(self, number, deadline):
        while self._sock is not None:
            for message in self._inbox:
                if message.get("kind") == "ack" and message.get("ask") == number:
                    self._inbox = [said for said in self._inbox if said.get("kind") != "ack"]
                    return True
            left = deadline - _clock()
            if left <= 0:
                return False
            self._flush()
            self._receive(left)
        return False

    def _receive(self, wait_s):
        if self._sock is None:
            return
        self._sock.settimeout(wait_s)
        try:
            data = self._sock.recv(BUFFER_B)
        except (BlockingIOError, TimeoutError, _socket.timeout):
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        self._in += data
        *lines, rest = bytes(self._in).split(b"\n")
        self._in = bytearray(rest[-BUFFER_B:])
        for line in lines:
            self._note(line)

    def _note(self, line):
        import json

        try:
            message = json.loads(line)
        except ValueError:
            return
        if isinstance(message, dict) and len(self._inbox) < 100:
            self._inbox.append(message)

    def _close(self):
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


_channel = None


def open_channel(path, version):
    """Connect to the agent; without a path, or where nobody listens, everything told is dropped."""
    global _channel
    try:
        _channel = Channel(path) if path else None
        if _channel is not None:
            _channel.greet(version)
    except Exception:
        _channel = None


def tell(kind, drop=False, **fields):
    """Tell the agent; never raises."""
    try:
        if _channel is not None:
            _channel.tell(kind, drop, **fields)
    except Exception:
        pass


def ask(kind, **fields):
    """Tell the agent and wait for it, at most `ASK_S`; never raises."""
    try:
        return _channel is not None and _channel.ask(kind, **fields)
    except Exception:
        return False


def read():
    """Give what the agent has said; never raises."""
    try:
        return _channel.read() if _channel is not None else []
    except Exception:
        return []
