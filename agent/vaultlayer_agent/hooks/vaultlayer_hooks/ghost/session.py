"""Begins a recording or a replay at `import torch`, and decides at every boundary what is done there."""

import os
import sys

from vaultlayer_hooks import channel
from vaultlayer_hooks.finder import DIVERGED_STATUS
from vaultlayer_hooks.ghost import (
    boundary,
    environ,
    golive,
    log,
    snapshot,
    threads,
    vls,
)
from vaultlayer_hooks.ghost.log import now_s
from vaultlayer_hooks.ghost.reached import Reached
from vaultlayer_hooks.ghost.state import (
    OFF,
    RECORD,
    REPLAY,
    Diverged,
    Refused,
    run,
)
from vaultlayer_hooks.ghost.tail import Tail

KEPT = 2
TELL_STEP_S = 0.2
CLOSER_PATIENCE_STEPS = 64


class Session:
    """What `run` calls at its turning points."""

    def __init__(self, directory, every):
        self.directory = directory
        self.every_steps, self.every_s = parse_every(every)
        if os.environ.get("RANK") is not None:
            # Clocks differ between ranks, and all must take the same step.
            self.every_s = 0.0
        self.number = 0
        self.shot = None
        self.due_at_step = None
        self.due = False
        self.due_since = 0
        self.last_at = now_s()
        self.began = now_s()
        self.reader = None
        self.hurried_until = 0.0
        self.proven = set()
        self.reached = Reached(directory)
        self.die_at = int(os.environ.get("VAULTLAYER_GHOST_DIE_AT") or 0)

    def begin(self):
        """The first call that a replay skips: set-up is over."""
        if not run.started:
            run.started = True
            run.begin = _nothing
            run.depth += 1
            try:
                self._look_at_imports()
                environ.begin()
                run.constants.take()
            except Exception as failure:
                run.give_up("set-up cannot be looked at: %s" % type(failure).__name__)
            finally:
                run.depth -= 1

    def _look_at_imports(self):
        """Look at them before the script can write files, and end a replay early that skips other code."""
        changed = run.imported.changed(self.reader.index["imported"] if self.reader else {})
        if changed:
            run.diverge(changed)

    def recorded_step(self, key):
        """A step of a recording (or of a live run) has ended; runs inside our own depth."""
        run.pulse.step(run.steps)
        self.reached.note(run.steps)
        now = now_s()
        if now >= self.listen_at:
            self.listen_at = now + channel.READ_EVERY_S
            self._listen()
        if now - self.told_at >= TELL_STEP_S:
            self.told_at = now
            self._tell_step()
        if self.shot is not None:
            self._watch()
        if run.steps == self.die_at:
            self._die()
        if self._is_due(key, now):
            self._snapshot(key)

    told_at = 0.0
    listen_at = 0.0

    def _tell_step(self):
        """Let the agent know where we are: it names the step of a snapshot that all ranks must take."""
        channel.tell("ghost_step", drop=True, framework="ghost", step=run.steps)

    def _die(self):
        """End as a lost machine does; only tests ask for it."""
        while self.shot is not None and not self.shot.done.acquire(timeout=10):
            pass
        run.writer.flush()
        os.kill(os.getpid(), 9)

    def _listen(self):
        for message in channel.read():
            kind = message.get("kind")
            if kind == "snapshot":
                self.due = message.get("at_step") is None
                self.due_at_step = message.get("at_step")
            elif kind == "notice":
                self._take_notice(message)

    def snapshot_soon(self):
        """Let the first snapshot be taken at the next boundary."""
        self.due = self.due or not self.number

    def _take_notice(self, message):
        """The machine will be taken: what has happened must be on the disk; the agent asks for more."""
        run.writer.flush()
        self.hurried_until = now_s() + float(message.get("grace_s") or 0.0)

    def _is_due(self, key, now):
        if self.shot is not None:
            return False
        asked = self.due_at_step is not None and run.steps >= self.due_at_step
        by_steps = self.every_steps and run.steps % self.every_steps == 0
        by_time = self.every_s and now - self.last_at >= self.every_s
        if asked or by_steps or by_time:
            self.due, self.due_at_step = True, None
        if not self.due:
            return False
        self.due_since = self.due_since or run.steps
        if boundary.found.places[key].banned:
            return False
        late = run.steps - self.due_since > CLOSER_PATIENCE_STEPS
        return late or boundary.found.closes(key)

    def _snapshot(self, key):
        self.due = False
        self.due_since = 0
        self.last_at = now_s()
        self.number += 1
        shot = snapshot.Shot(self.number, key)
        meta = {"number": str(self.number)}
        run.files.flush()
        run.pulse.settle()
        # The image of the files is older than the look at what other threads do.
        shot.marks = run.files.marks() if threads.are_beside() else None
        channel.ask("snapshot_begin", framework="ghost", step=run.steps, meta=meta)
        try:
            snapshot.take(shot, sys._getframe(2), run.result)
        except snapshot.Void as reason:
            # It counts all the same: other ranks may have taken theirs.
            run.segments_b.append(run.writer.rotate(shot.number))
            self._void(shot, str(reason))
            return
        run.segments_b.append(run.writer.rotate(shot.number))
        shot.log_b = sum(run.segments_b)
        self.shot = shot
        run.proof.watch(shot)
        snapshot.write_in_background(shot, self.directory)

    def _void(self, shot, reason):
        meta = {"number": str(shot.number)}
        channel.tell(
            "snapshot_void", framework="ghost", step=shot.step, detail=reason[:300], meta=meta
        )

    def _watch(self):
        shot = self.shot
        # A notice leaves no time for a proof, but only where an earlier snapshot's has held is none needed.
        hurry = shot.key in self.proven and now_s() < self.hurried_until
        if not (run.proof.is_over() or hurry or run.proof.void):
            return
        # A test that dies at a step must not depend on how fast the disk was.
        if not shot.done.acquire(bool(self.die_at)):
            return
        self._conclude(shot)

    def _conclude(self, shot):
        """Announce a snapshot that is on the disk and proved, or say why there is none."""
        self.shot = None
        run.writer.flush()
        if run.proof.is_over() and not run.proof.void:
            self.proven.add(shot.key)
        reason = run.proof.end() or shot.failure
        path = os.path.join(self.directory, vls.snapshot_name(shot.number))
        if reason:
            _unlink(path)
            self._void(shot, reason)
            return
        meta = {
            "number": str(shot.number),
            "stall_ms": "%.3f" % shot.stall_ms,
            "size_b": str(shot.size_b),
            "log_b": str(shot.log_b),
            "state_b": str(shot.state_b),
        }
        channel.tell("snapshot_end", framework="ghost", step=shot.step, path=path, meta=meta)
        for number in range(max(1, shot.number - 4), shot.number - KEPT + 1):
            _unlink(os.path.join(self.directory, vls.snapshot_name(number)))

    def replayed_step(self, key):
        """A step of a replay has ended."""
        target = self.reader.index
        if run.cursor < run.end:
            return
        if run.steps != target["step"] or key != target["place"]:
            run.diverge("the log ends at step %d, not %d" % (run.steps, target["step"]))
        self._go_live(sys._getframe(2))

    def _go_live(self, frame):
        began = now_s()
        replay_ms = (began - self.began) * 1e3
        try:
            golive.restore(self.reader, frame, run.result)
        except (Diverged, Refused, snapshot.Void) as reason:
            run.diverge(str(reason))
        index = self.reader.index
        self.reader.close()
        self.number = index["number"]
        run.segments_b = [*index["segments"], self.closed_b]
        run.writer = log.Writer(self.directory, self.number, index["events"])
        for number in range(self.number + 1, self.number + 10):
            _unlink(os.path.join(self.directory, vls.snapshot_name(number)))
            _unlink(os.path.join(self.directory, log.segment_name(number)))
        run.events, run.cursor, run.end, run.more = [], 0, 0, None
        run.mode = RECORD
        run.went_live = True
        self.mute.off()
        self.last_at = now_s()
        self.told_at = 0.0
        meta = {
            "replay_ms": "%.1f" % replay_ms,
            "restore_ms": "%.1f" % golive.elapsed_ms(began),
            "steps": str(run.steps),
        }
        self.reached.note(run.steps)
        channel.tell("live", framework="ghost", step=run.steps, meta=meta)
        run.tail = Tail(self.tail_events)
        if not run.tail.of:
            self.verified(run.tail)
        self.tail_events = []

    def verified(self, tail):
        """All that the dead run has left has been compared."""
        run.tail = None
        meta = {"equal": str(tail.equal), "of": str(tail.of), "near": str(tail.near)}
        channel.tell("verified", framework="ghost", step=run.steps, meta=meta)

    def end(self):
        """The script has ended."""
        if run.mode == OFF or os.getpid() != run.pid:
            return
        if run.mode == REPLAY:
            if run.failed:
                return
            run.diverge("the script ended before the replay reached its snapshot")
        if self.shot is not None:
            self.shot.done.acquire()
            self._conclude(self.shot)
        try:
            run.writer.close()
        except (OSError, ValueError) as failure:
            self.give_up("the log cannot be written: %s" % failure)
            return
        self.reached.close()
        if run.steps:
            channel.tell("ghost_step", framework="ghost", step=run.steps)
        if not run.steps:
            channel.tell("ghost_off", framework="ghost", detail="no optimizer stepped")
        run.mode = OFF

    def diverge(self, reason):
        """End this attempt: no wrong value shall live on."""
        run.mode = OFF
        channel.tell("diverged", framework="ghost", step=run.steps, detail=reason[:300])
        if self.mute is not None:
            self.mute.off()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        os.write(2, ("vaultlayer: ghost replay stopped: %s\n" % reason).encode())
        if run.writer is not None:
            run.writer.close()
        os._exit(DIVERGED_STATUS)

    def give_up(self, reason):
        """Stop recording; the script goes on as if we were not there."""
        if run.mode == REPLAY:
            self.diverge(reason)
        run.mode = OFF
        self.reached.withdraw()
        channel.tell("ghost_off", framework="ghost", detail=reason[:300])

    mute = None
    tail_events = ()
    closed_b = 0


def _nothing():
    """Set-up is over already."""


def parse_every(text):
    """Give `(steps, seconds)` of `200steps` or `30s`; 0 for what is not given."""
    text = text.strip()
    if text.endswith("steps"):
        return int(text[:-5]), 0.0
    if text.endswith("s"):
        return 0, float(text[:-1])
    return 0, 0.0


def _unlink(path):
    try:
        os.unlink(path)
    except OSError:
        pass
