"""`vaultlayer sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from vaultlayer import gpu as gpus
from vaultlayer.errors import FlagError
from vaultlayer_cli import exit_codes
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.providers import check_providers
from vaultlayer_cli.sweep.records import SMOKES, Record, append, path_of
from vaultlayer_cli.table import Column, print_table
from vaultlayer_cli.terminal import print_json, say
from vaultlayer_cli.units import duration_text, usd_text

COLUMNS = (
    Column("SMOKE JOB"),
    Column("RESULT"),
    Column("JOB"),
    Column("ATTEMPTS", is_number=True),
    Column("FROM STEP", is_number=True),
    Column("TRAINING", is_number=True),
    Column("WALL CLOCK", is_number=True),
    Column("COST", is_number=True),
    Column("WHY", least=16),
)


def sweep(  # noqa: PLR0917  typer calls it by name
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", show_default=False)],
    gpu: Annotated[str, typer.Option(metavar="NAME[:N]", help="GPU, such as A100_40:2.")] = "",
    budget: Annotated[
        float, typer.Option(metavar="USD", help="Cap over all smoke jobs together.")
    ] = 5.0,
    only: Annotated[str, typer.Option(metavar="|".join(SMOKES), help="Only this smoke job.")] = "",
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the records here too.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Run the smoke jobs on a provider, end to end.

    A quick job, one whose machine is killed and that must go on, and a fine-tune with an adapter on a frozen
    base. Job ids, times and cost are recorded; a provider whose newest records all passed is validated. The
    exit status is 1 when one failed.
    """
    if budget <= 0:
        raise FlagError(f"--budget {budget:g}: it must be above zero", mend="--budget 5")
    if only and only not in SMOKES:
        raise FlagError(f"no smoke job is called {only!r}", mend=f"one of: {', '.join(SMOKES)}")
    need = gpus.parse(gpu) if gpu else gpus.GpuNeed()
    return run_async(
        _sweep, provider, need, budget_usd=budget, only=only, file=record, as_json=as_json
    )


async def _sweep(
    provider: str,
    gpu: gpus.GpuNeed,
    *,
    budget_usd: float,
    only: str,
    file: Path | None,
    as_json: bool,
) -> int:
    from vaultlayer_cli.sweep.play import SMOKES as JOBS  # noqa: PLC0415  only when they are run
    from vaultlayer_cli.sweep.play import Ground, play  # noqa: PLC0415

    def tell(text: str) -> None:
        if not as_json:
            say(text)

    found: list[Record] = []
    async with session() as opened:
        check_providers([provider], opened.settings)
        for smoke in JOBS:
            left_usd = budget_usd - sum(one.cost_usd for one in found)
            if only and smoke.name != only:
                continue
            if left_usd <= 0:
                tell(f"{smoke.name}: not run, the budget of {usd_text(budget_usd)} is spent")
                break
            ground = Ground(
                provider=provider, gpu=gpu, budget_usd=left_usd, settings=opened.settings
            )
            done = await play(opened.bus, ground, smoke, tell)
            found.append(done)
            for path in (path_of(opened.home), file):
                if path is not None:
                    append(path, done)
            if as_json:
                print_json(done)
    if not as_json:
        print_table(COLUMNS, [cells(one) for one in found], [styles(one) for one in found])
    complete = len(found) == (1 if only else len(SMOKES))
    return exit_codes.OK if complete and all(one.passed for one in found) else 1


def cells(record: Record) -> list[str]:
    """Give the cells of one smoke job."""
    return [
        record.smoke,
        "passed" if record.passed else "FAILED",
        record.job,
        str(record.attempts or ""),
        "" if record.resumed_step is None else str(record.resumed_step),
        duration_text(record.train_s) if record.train_s else "",
        duration_text(record.wall_s) if record.wall_s else "",
        usd_text(record.cost_usd),
        record.detail,
    ]


def styles(record: Record) -> list[str]:
    """Give the colours of one smoke job's cells."""
    return ["", "green" if record.passed else "red bold", "dim", "", "", "", "", "", "red"]
