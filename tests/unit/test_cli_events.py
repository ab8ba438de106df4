"""Each entry of a job's log has a line that a person understands."""

from typing import Any

import pytest

from vaultlayer import events as ev
from vaultlayer.driver import Offer
from vaultlayer_cli.events_text import QUIET, event_text, style_of
from vaultlayer_cli.terminal import STYLES

OFFER = Offer(
    provider="vast", offer_id="1", gpu="A100_40", gpu_count=2, price_usd_h=0.61, region="DE"
)
DIGEST = "ab12cd34" + "0" * 56

LINES = [
    (ev.Submitted(spec=ev.JobSpec(command=["python", "t.py"])), "submitted: python t.py"),
    (
        ev.Ordered(
            attempt=2, incarnation="i", provider="vast", offer=OFFER, reason="cheapest of 3"
        ),
        "attempt 2 ordered on vast (A100_40:2, DE, $0.61/h, cheapest of 3)",
    ),
    (
        ev.CreateFailed(attempt=1, code="no-capacity", reason="sold out"),
        "attempt 1 got no machine: sold out",
    ),
    (
        ev.Takeover(attempt=2, resume_from=DIGEST, resume_step=40),
        "attempt 2 takes over from checkpoint ab12cd34 (step 40)",
    ),
    (ev.Ready(attempt=1, boot_s={"ready": 1.5}), "attempt 1 is ready after 1.5s of set-up"),
    (
        ev.Ready(attempt=1, boot_s={"began": 1.0, "agent_installing": 30.0, "ready": 1.0}),
        "attempt 1 is ready after 32s of set-up (agent installing 30s)",
    ),
    (ev.Takeover(attempt=1), "attempt 1 takes over, from the beginning"),
    (
        ev.Started(attempt=2, resumed_from="m", resumed_step=40, restore_s=0.5, again_steps=17),
        "attempt 2 started the script again (step 40), restored in 0.5s, 17 steps run again",
    ),
    (
        ev.Started(attempt=2, again_steps=1),
        "attempt 2 started the script, 1 step run again",
    ),
    (
        ev.CheckpointCommitted(
            attempt=2, seq=3, manifest="m", key="k", step=40, size_b=5_000_000, new_b=1_200_000
        ),
        "checkpoint 2.3 committed (step 40, 1.2 MB new of 5.0 MB)",
    ),
    (
        ev.Lost(attempt=1, evidence="provider: process is gone", silent_s=3.1, last_step=41),
        "heartbeat of attempt 1 lost after 3.1s: provider: process is gone, last seen at step 41",
    ),
    (
        ev.Lost(attempt=1, evidence="lease", silent_s=30.0),
        "heartbeat of attempt 1 lost after 30s: its lease has ended",
    ),
    (
        ev.Suspected(attempt=1, evidence="silent for 12 s", silent_s=12.0),
        "attempt 1 is suspect: silent for 12 s",
    ),
    (ev.Exited(attempt=1, exit_code=0), "attempt 1: the script ended well"),
    (ev.Exited(attempt=1, exit_code=137, signal=9), "attempt 1: the script was ended by signal 9"),
    (
        ev.Finished(outcome="failed", exit_code=3, reason="the script ended with status 3"),
        "job failed: the script ended with status 3 (exit status 3)",
    ),
    (
        ev.Gone(attempt=1, billed_s=75.0, cost_usd=0.0123),
        "machine of attempt 1 is gone, billed 1m 15s, $0.01",
    ),
]


@pytest.mark.parametrize(("event", "line"), LINES, ids=lambda value: getattr(value, "what", None))
def test_an_entry_is_told_in_plain_words(event: ev.Event, line: str) -> None:
    assert event_text(event) == line


SMALLEST: dict[str, dict[str, Any]] = {
    "submitted": {"spec": ev.JobSpec(command=["x"])},
    "ordered": {"incarnation": "i", "provider": "p", "offer": OFFER},
    "created": {"instance": "i"},
    "create_failed": {"code": "c", "reason": ""},
    "enrolled": {"user_key": "U"},
    "stepped": {"step": 1},
    "tier_found": {"tier": "A"},
    "checkpoint_committed": {"seq": 1, "manifest": DIGEST, "key": "k"},
    "checkpoint_rejected": {"manifest": DIGEST, "reason": "r"},
    "suspected": {"evidence": "e"},
    "noticed": {"grace_s": 30.0},
    "lost": {"evidence": "e"},
    "released": {"reason": "r"},
    "exited": {"exit_code": 0},
    "drill_requested": {"verb": "kill"},
    "drilled": {"verb": "kill"},
    "finished": {"outcome": "succeeded"},
    "snapshot": {"through": 1, "state": b"{}"},
}


@pytest.mark.parametrize("kind", ev.EVENT_TYPES)
def test_every_kind_has_a_line_and_a_style_even_at_its_barest(kind: str) -> None:
    event = ev.EVENT_TYPES[kind](**SMALLEST.get(kind, {}))
    line = event_text(event)
    assert line.strip() == line != ""
    assert "\n" not in line
    assert set(style_of(event).split()) <= set(STYLES)


def test_no_line_shows_a_sealed_environment() -> None:
    spec = ev.JobSpec(command=["x"], env_names=["TOKEN"], env_sealed="c2VjcmV0")
    assert "c2VjcmV0" not in event_text(ev.Submitted(spec=spec))


def test_quiet_kinds_are_kinds() -> None:
    assert set(ev.EVENT_TYPES) > QUIET
