"""Progress read from well-known lines."""

import pytest

from vaultlayer_agent.progress import Reading, Tracker, read_line


@pytest.mark.parametrize(
    ("line", "step", "steps", "loss"),
    [
        ("{'loss': 3.4528, 'grad_norm': 1.2, 'learning_rate': 5e-05, 'epoch': 0.02}", None, None, 3.4528),
        ("{'loss': '3.4528', 'epoch': '0.02'}", None, None, 3.4528),
        ('{"step": 12, "train_loss": 0.5, "max_steps": 100}', 12, 100, 0.5),
        (" 12%|█▏        | 12/100 [00:01<00:10,  8.00it/s]", 12, 100, None),
        ("100%|##########| 27/27 [00:05<00:00,  5.31it/s, loss=2.25]", 27, 27, 2.25),
        ("Epoch 0:  12%|█▏  | 12/100 [00:01<00:10, 8.0it/s, v_num=0, train_loss=3.40]", 12, None, 3.4),
        ("Epoch 2:  50%|█▏  | 50/100 [00:01<00:10, 8.0it/s, v_num=0]", 250, None, None),
        ("step 12 loss 3.4", 12, None, 3.4),
        ("step 12/100 | loss: 3.4", 12, 100, 3.4),
        ("Step [12/100], Loss: 0.345", 12, 100, 0.345),
        ("iter 120: loss 3.4012, time 25.30ms, mfu 1.2%", 120, None, 3.4012),
        ("epoch 1 step=7 loss=nan", 7, None, pytest.approx(float("nan"), nan_ok=True)),
        ("[12/100] loss=1e-3", 12, 100, 1e-3),
        ("global_step: 40", 40, None, None),
        ("2026-11-23 10:00:00 INFO iteration 3 of 9 loss: 2", 3, 9, 2.0),
    ],
)  # fmt: skip
def test_these_lines_tell_progress(
    line: str, step: int | None, steps: int | None, loss: float | None
):
    assert read_line(line) == Reading(step=step, steps=steps, loss=loss)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Loading checkpoint shards: 100%|██████████| 2/2 [00:01<00:00,  1.20it/s]",
        "Map:  10%|█         | 100/1000 [00:00<00:01, 900 examples/s]",
        "Validation DataLoader 0: 100%|██████████| 10/10 [00:00<00:00, 95it/s]",
        "Downloading data: 100%|██████████| 5/5 [00:00<00:00, 95it/s]",
        "{'lr': 0.1}",
        "{not a dict}",
        "footsteps 12 lossless",
        "Saved to step_12.pt",
        "x" * 5000,
    ],
)
def test_these_lines_tell_none(line: str):
    assert read_line(line) is None


def test_a_bar_is_read_though_its_line_never_ends():
    tracker = Tracker()
    assert tracker.feed("\r 12%|█▏   | 12/100 [00:01<00:10,  8.00it/s]", 1.0)
    assert tracker.now.step == 12
    assert tracker.feed("\r 13%|█▏   | 13/100 [00:01<00:10,  8.00it/s]", 2.0)
    assert tracker.now.step == 13
    assert tracker.now.steps == 100


def test_a_line_cut_between_two_reads_is_read_once_whole():
    tracker = Tracker()
    assert not tracker.feed("step 1", 1.0)
    assert tracker.feed("2 loss 0.5\nst", 2.0)
    assert (tracker.now.step, tracker.now.loss) == (12, 0.5)


def test_the_rate_is_steps_a_second_over_the_last_half_minute():
    tracker = Tracker()
    for second in range(100):
        tracker.feed(f"step {second * 4}\n", float(second))
    assert tracker.now.rate == pytest.approx(4.0)


def test_the_rate_survives_a_step_that_falls_back():
    tracker = Tracker()
    for second, step in enumerate([100, 101, 102, 50, 52]):
        tracker.feed(f"step {step}\n", float(second))
    assert tracker.now.rate == pytest.approx(2.0)


def test_once_the_hook_speaks_of_steps_the_output_gives_only_the_loss():
    tracker = Tracker()
    tracker.feed("step 900 loss 1.0\n", 1.0)
    tracker.read(Reading(step=41, steps=50), 2.0, hooked=True)
    tracker.feed("step 901 loss 0.9\n", 3.0)
    assert (tracker.now.step, tracker.now.steps, tracker.now.loss) == (41, 50, 0.9)


def test_a_bar_that_starts_where_the_job_resumed_shows_no_new_step():
    tracker = Tracker(resumed_step=102)
    tracker.feed("\r 80%|██   | 102/128 [00:00<?, ?it/s]", 1.0)
    assert tracker.first_step is None
    tracker.feed("\r 81%|██   | 103/128 [00:01<00:10,  1.00s/it]", 2.0)
    assert tracker.first_step == 103


def test_a_script_that_starts_again_from_zero_makes_a_first_step_below_the_resumed_one():
    tracker = Tracker(resumed_step=102)
    tracker.feed("step 1 loss 9\nstep 2 loss 8\n", 1.0)
    assert tracker.first_step == 1 or tracker.first_step == 2


def test_the_ghosts_count_goes_into_the_log_and_the_output_stays_what_is_shown():
    tracker = Tracker()
    tracker.feed("step 5/100 loss 1.0\n", 1.0)
    tracker.count(10, 2.0)
    tracker.count(9, 2.5)
    assert (tracker.now.step, tracker.now.steps) == (5, 100)
    assert tracker.step == 10
    tracker.uncount()
    assert tracker.step == 5


def test_the_ghosts_count_is_shown_of_a_script_that_tells_nothing():
    tracker = Tracker()
    for second in range(4):
        tracker.count(120 + second * 3, float(second))
    assert tracker.now.step == 129
    assert tracker.now.rate == pytest.approx(3.0)
    tracker.feed("step 40\n", 5.0)
    assert tracker.now.step == 40


def test_another_start_of_the_script_is_counted_anew():
    tracker = Tracker()
    tracker.begin(120)
    tracker.count(121, 1.0)
    assert tracker.first_step == 121
    tracker.begin(None)
    tracker.count(1, 2.0)
    assert tracker.step == 1
