"""What a script is told that has run for long without anything safe: once, why, and how to mend it."""

import anyio
import pytest

from model.ledger_world import SkippingLoop
from vaultlayer_agent.ghost import Ghost, Phase
from vaultlayer_agent.unsaved import UNSAVED_S, Saving, tell_unsaved, unsaved_words


def skip(saved_at_s: float) -> list[tuple[float, str]]:
    """Run an hour of skipped time; what was told, and when."""
    told: list[tuple[float, str]] = []

    async def main() -> None:
        begun_s = anyio.current_time()

        def now_s() -> float:
            return anyio.current_time() - begun_s

        def tell(text: str) -> None:
            told.append((now_s(), text))

        async with anyio.create_task_group() as group:
            group.start_soon(tell_unsaved, lambda: now_s() >= saved_at_s, tell)
            await anyio.sleep(3600.0)

    anyio.run(main, backend_options={"loop_factory": SkippingLoop})
    return told


def test_it_is_told_once_after_ten_minutes() -> None:
    [(at_s, text)] = skip(saved_at_s=1e9)
    assert at_s == pytest.approx(UNSAVED_S, abs=1.0)
    assert text == "NOTHING SAVED after 10 min"


def test_nothing_is_told_where_something_is_safe() -> None:
    assert skip(saved_at_s=UNSAVED_S - 1) == []


RECORDING = Ghost(phase=Phase.RECORDING)
OFF = Ghost(phase=Phase.OFF, reason="no optimizer stepped")
EXACT = {"save_strategy": "steps", "save_steps": "5000"}


@pytest.mark.parametrize(
    ("saving", "said"),
    [
        (Saving(train=EXACT, ghost=OFF), ["save_steps is 5000", "save more often"]),
        (Saving(train={"save_strategy": "no"}, ghost=RECORDING), ["no snapshot could be taken"]),
        (Saving(ghost=RECORDING, void="a tensor moved"), ["because a tensor moved"]),
        (Saving(ghost=OFF), ["no optimizer stepped", "--resume-args"]),
        (Saving(is_off=True), ["drop --snapshot-every off"]),
        (Saving(outside=("/data/out",)), ["--output /data/out", "below the working directory"]),
        (Saving(ghost=Ghost(phase=Phase.WAITING)), ["no optimizer step", "vaultlayer check"]),
    ],
)
def test_why_and_how_to_mend_it(saving: Saving, said: list[str]) -> None:
    words = unsaved_words(saving)
    assert [one for one in said if one not in words] == []
