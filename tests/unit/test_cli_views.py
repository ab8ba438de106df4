"""What a person sees: tables that fit, a status bar, plain lines in a pipe."""

import io
import json
import re

import msgspec
import pytest
from rich.console import Console, Group

from vaultlayer import events as ev
from vaultlayer.driver import Offer
from vaultlayer.job import Job
from vaultlayer.messages import Progress, StoredEvent
from vaultlayer_cli.live import LiveView, job_line, progress_line, split_time
from vaultlayer_cli.reading import EventReader, Happened, Printed
from vaultlayer_cli.render import JsonView, PlainView, entry_text, farewell
from vaultlayer_cli.table import Column, table_text
from vaultlayer_cli.terminal import full, paint

JOB = "j234567abc"
OFFER = Offer(provider="local", offer_id="1")
STORY: list[ev.Event] = [
    ev.Submitted(
        job=JOB, at=100.0, spec=ev.JobSpec(command=["python", "t.py"], env_sealed="SEALED")
    ),
    ev.Ordered(job=JOB, at=100.5, attempt=1, incarnation="i", provider="local", offer=OFFER),
    ev.CreateClaimed(job=JOB, at=100.6, attempt=1),
    ev.Created(job=JOB, at=101.0, attempt=1, instance="vl"),
    ev.Ready(job=JOB, at=102.0, attempt=1),
    ev.Takeover(job=JOB, at=102.0, attempt=1),
    ev.TierFound(job=JOB, at=103.0, attempt=1, tier="A"),
    ev.CheckpointCommitted(job=JOB, at=104.0, attempt=1, seq=1, manifest="m", key="k", step=40),
]
ENDING: list[ev.Event] = [
    ev.Exited(job=JOB, at=164.0, attempt=1, exit_code=0),
    ev.Finished(job=JOB, at=165.0, outcome="succeeded"),
]


def happened(events: list[ev.Event]) -> list[Happened]:
    return [
        Happened(seq=n, kind=ev.kind_of(e), body=msgspec.Raw(ev.encode(e)), event=e)
        for n, e in enumerate(events, 1)
    ]


def folded(events: list[ev.Event]) -> Job:
    reader = EventReader()
    for one in happened(events):
        reader.take([StoredEvent(seq=one.seq, kind=one.kind, body=one.body)])
    assert reader.job is not None
    return reader.job


COLUMNS = (
    Column("JOB"),
    Column("N", is_number=True),
    Column("EMPTY"),
    Column("EXTRA", is_optional=True),
    Column("COMMAND", least=8),
)
ROWS = [["j1", "5", "", "more", "python train.py --lr 1"], ["j22", "10", "", "m", "a\nb"]]


def test_a_table_is_aligned_and_leaves_empty_columns_out() -> None:
    assert table_text(COLUMNS, ROWS, width=80) == (
        "JOB   N  EXTRA  COMMAND\nj1    5  more   python train.py --lr 1\nj22  10  m      a b\n"
    )


@pytest.mark.parametrize("width", [40, 30, 24, 17])
def test_a_table_fits_as_far_as_its_columns_give_way(width: int) -> None:
    lines = table_text(COLUMNS, ROWS, width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("JOB   N")


def test_colour_does_not_move_columns() -> None:
    plain = table_text(COLUMNS, ROWS, width=80)
    styles = [["red", "", "", "", ""]] * 2
    coloured = table_text(COLUMNS, ROWS, width=80, colour=True, styles=styles)
    assert "\x1b[31mj1\x1b[0m " in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert paint("x", "red", colour=False) == "x"


def test_a_pipe_gets_the_scripts_output_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    for entry in happened(STORY):
        view.happened(entry)
    view.printed(Printed(attempt=1, offset=0, text="[vaultlayer] attempt 1 starts\nstep 1\nst"))
    view.printed(Printed(attempt=1, offset=40, text="ep 2"))
    view.close()
    out, err = capsys.readouterr()
    assert out == "step 1\nstep 2"
    lines = err.splitlines()
    assert all(line.startswith("-- ") for line in lines)
    assert lines[0] == "--   +0.0s  submitted: python t.py"
    assert "create" not in err.replace("created", "")
    assert "SEALED" not in err


def test_missing_output_is_told_where_it_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().printed(Printed(attempt=2, offset=9, text="x\n", missing_b=4096))
    assert "4.1 KB of output of attempt 2 are not stored" in capsys.readouterr().err


def test_a_program_gets_every_entry_as_an_object_without_the_sealed_environment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view = JsonView()
    for entry in happened(STORY):
        view.happened(entry)
    view.printed(Printed(attempt=1, offset=0, text="hi"))
    view.progressed(1, Progress(incarnation="i", step=3))
    view.told("away")
    out, err = capsys.readouterr()
    objects = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [o["type"] for o in objects][:3] == ["submitted", "ordered", "create_claimed"]
    assert [o["type"] for o in objects][-3:] == ["output", "progress", "notice"]
    assert objects[0]["seq"] == 1
    assert "SEALED" not in out


def test_fields_with_their_defaults_are_printed_too() -> None:
    assert full(Offer(provider="p", offer_id="1"))["spot"] is False
    assert full(OFFER).keys() == set(Offer.__struct_fields__)


def test_the_last_lines_tell_outcome_time_and_what_to_do_next() -> None:
    lines = farewell(folded(STORY + ENDING))
    assert lines[0] == f"{JOB} succeeded after 1m 05s: 1 attempt, 1 checkpoint, $0.00"
    assert lines[-1] == f"outputs: vaultlayer pull {JOB}"


def screen(width: int) -> tuple[LiveView, io.StringIO]:
    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False
    )
    return LiveView(console), file


@pytest.mark.parametrize("width", [80, 120])
def test_the_status_bar_fits_its_screen(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    progress = Progress(incarnation="i", step=450, steps=1200, loss=2.3456, rate=3.21)
    for shown in (job_line(folded(STORY), 190.0), progress_line(progress, 1.0, width)):
        with console.capture() as captured:
            console.print(Group(shown))
        lines = captured.get().rstrip("\n").split("\n")
        assert len(lines) == 1
        assert len(lines[0]) <= width
    assert (
        "running · 1m 30s · attempt 1 on local · tier A · 1 checkpoint (step 40)"
        in job_line(folded(STORY), 190.0).plain
    )


def test_a_live_view_shows_lines_above_and_the_open_line_below() -> None:
    view, file = screen(80)
    with view:
        for entry in happened(STORY):
            view.happened(entry)
        view.printed(Printed(attempt=1, offset=0, text="first\n 10%\r 20%"))
        view.printed(Printed(attempt=2, offset=0, text="second\n"))
    text = file.getvalue()
    assert text.index("first") < text.index(" 20%") < text.index("second")
    assert " 10%" not in text
    assert "attempt 1 takes over, from the beginning" in text


def test_a_live_view_says_the_agents_lines_once_and_marks_them() -> None:
    view, file = screen(80)
    with view:
        view.printed(Printed(attempt=1, offset=0, text="[vaultlayer] attempt 1 starts\n"))
        view.printed(Printed(attempt=1, offset=9, text="[vaultlayer] hook is off\n"))
    text = file.getvalue()
    assert "starts" not in text
    assert "[vaultlayer]" not in text
    assert "hook is off" in text


def test_markup_of_the_script_is_its_own() -> None:
    view, file = screen(80)
    with view:
        view.printed(Printed(attempt=1, offset=0, text="[bold]x[/bold] [/] :smile:\n"))
    assert "[bold]x[/bold] [/] :smile:" in file.getvalue()


def test_an_entrys_line_is_split_into_time_and_words() -> None:
    for entry in happened(STORY):
        line = entry_text(entry, 100.0)
        assert "".join(split_time(line)) == line
        assert split_time(line)[2][0].isalpha()
    assert split_time("+1m 05s  job over") == ("+1m 05s", "  ", "job over")
