"""How fast a checkpoint goes up and comes back, what it costs in CPU, and what deduplication saves.

    python benchmarks/checkpoint_path.py [--size-mb 512] [--rounds 3] [--json]

Once against a sink that only keeps bytes (what our side can do) and once against a real S3 server on loopback
with its data on tmpfs (which is slower than we are, and shares our cores). CPU is of this process alone:
client, hashing, file system; in CPU-seconds per GB of checkpoint. Both speak plain HTTP: TLS adds about
0.23 CPU-s/GB on a core with AES instructions. Peak memory counts this process, which also writes the files.
"""

import argparse
import hashlib
import os
import platform
import resource
import secrets
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import msgspec

from vaultlayer.checkpoint.restore import restore
from vaultlayer.checkpoint.source import walk
from vaultlayer.checkpoint.upload import Uploaded, upload
from vaultlayer.errors import StoreMissingError, StoreUnreachableError
from vaultlayer.messages.people import StoreCredential
from vaultlayer.store.s3 import S3Store
from vaultlayer.store.weed import weed_arguments, weed_config_files, weed_ports, weed_sockets

JOB = "j234567892"
PREFIX = f"jobs/{JOB}/a1-bench/"
BUCKET = "benchmark"
LAYERS = 32
ADAPTER_B = 128 * 1024


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over the rounds."""

    name: str
    size_gb: float
    moved_gb: float
    gb_s: float
    cpu_s_gb: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    machine: str
    cores: int
    load: float
    rounds: int
    figures: list[Figure]
    lora_new_to_changed: float
    peak_rss_mb: int


@contextmanager
def running(command: Sequence[str | Path]) -> Generator[None]:
    """Run a server; it is killed by pid on the way out."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_"))
    }
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environ,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


def credential(port: int) -> StoreCredential:
    return StoreCredential(
        endpoint=f"http://127.0.0.1:{port}",
        bucket=BUCKET,
        region="us-east-1",
        root="",
        access_key="bench",
        secret_key="bench-secret",
    )


@asynccontextmanager
async def s3_server(path: Path) -> AsyncGenerator[S3Store]:
    """Run a real S3 server below `path`."""
    base = 11_000 + secrets.randbelow(1_000) * 9
    ports = weed_ports(base + 8, base)
    (path / "data").mkdir(parents=True)
    (path / "config").mkdir()
    files = weed_config_files(
        access_key="bench", secret_key="bench-secret", signing_key=b"b" * 32, bucket=BUCKET
    )
    for name, text in files.items():
        (path / "config" / name).write_bytes(text)
    arguments = weed_arguments(path / "data", path / "config", ports, bucket=BUCKET)
    try:
        with running([Path(sys.executable).with_name("weed"), *arguments]):
            await until_ready(credential(ports.s3))
            yield S3Store(credential(ports.s3))
    finally:
        for leftover in weed_sockets(ports):
            leftover.unlink(missing_ok=True)


@asynccontextmanager
async def sink() -> AsyncGenerator[S3Store]:
    """Run a store that only keeps bytes."""
    port = 11_000 + secrets.randbelow(10_000)
    with running([sys.executable, Path(__file__).with_name("sink.py"), str(port)]):
        await until_ready(credential(port))
        yield S3Store(credential(port))


async def until_ready(key: StoreCredential) -> None:
    impatient = S3Store(key, tries=1, answer_s=2)
    with anyio.fail_after(40):
        while True:
            try:
                await impatient.put("up", b"1")
            except (StoreMissingError, StoreUnreachableError):
                await anyio.sleep(0.05)
            else:
                return


def write_full(path: Path, size_b: int) -> None:
    """A checkpoint in which every byte is new: weights and two moments."""
    path.mkdir(parents=True)
    for name in ("model.bin", "exp_avg.bin", "exp_avg_sq.bin"):
        with (path / name).open("wb") as file:
            for _ in range(size_b // 3 // (1 << 20)):
                file.write(os.urandom(1 << 20))


def write_lora(path: Path, size_b: int, seed: bytes) -> int:
    """A full model in one file, of which only the adapters depend on `seed`; gives their size."""
    path.mkdir(parents=True, exist_ok=True)
    each = size_b // LAYERS >> 20 << 20
    header: dict[str, object] = {}
    at = 0
    for layer in range(LAYERS):
        for name, length in (("base", each), ("lora", ADAPTER_B)):
            span = [at, at + length]
            header[f"{layer:02}.{name}"] = {"dtype": "U8", "shape": [length], "data_offsets": span}
            at += length
    text = msgspec.json.encode(header)
    with (path / "model.safetensors").open("wb") as file:
        file.writelines([struct.pack("<Q", len(text)), text])
        for layer in range(LAYERS):
            for part in range(each >> 20):
                file.write(hashlib.shake_128(bytes([layer, part])).digest(1 << 20))
            file.write(hashlib.shake_128(seed + bytes([layer])).digest(ADAPTER_B))
    return LAYERS * ADAPTER_B


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def save(store: S3Store, path: Path, seq: int, parent: Uploaded | None = None) -> Uploaded:
    return await upload(
        store,
        list(walk(path, "work")),
        prefix=PREFIX,
        job=JOB,
        attempt=1,
        incarnation="bench",
        seq=seq,
        parent=parent.content if parent else None,
    )


def figure(name: str, size_b: int, moved_b: int, walls: list[float], cpus: list[float]) -> Figure:
    gb = size_b / 1e9
    return Figure(
        name=name,
        size_gb=round(gb, 3),
        moved_gb=round(moved_b / 1e9, 4),
        gb_s=round(gb / statistics.median(walls), 2),
        cpu_s_gb=round(statistics.median(cpus) / gb, 2),
    )


async def full(store: S3Store, name: str, work: Path, size_b: int, rounds: int) -> list[Figure]:
    walls: dict[str, list[float]] = {"up": [], "down": []}
    cpus: dict[str, list[float]] = {"up": [], "down": []}
    done: Uploaded | None = None
    for number in range(rounds):
        shutil.rmtree(work, ignore_errors=True)
        write_full(work / "source", size_b)
        before, started = cpu_s(), time.monotonic()
        done = await save(store, work / "source", number)
        walls["up"].append(time.monotonic() - started)
        cpus["up"].append(cpu_s() - before)
        shutil.rmtree(work / "source")
        before, started = cpu_s(), time.monotonic()
        found = await restore(store, done.content, {"work": work / "back"})
        walls["down"].append(time.monotonic() - started)
        cpus["down"].append(cpu_s() - before)
        assert found.fetched_b == done.size_b
        await store.delete(list(done.content.pack_sizes))
    assert done is not None
    return [
        figure(f"upload to {name}", done.size_b, done.new_b, walls["up"], cpus["up"]),
        figure(f"restore from {name}", done.size_b, done.size_b, walls["down"], cpus["down"]),
    ]


async def lora(store: S3Store, work: Path, size_b: int) -> tuple[Figure, float]:
    shutil.rmtree(work, ignore_errors=True)
    write_lora(work, size_b, b"before")
    first = await save(store, work, 100)
    changed_b = write_lora(work, size_b, b"after")
    before, started = cpu_s(), time.monotonic()
    second = await save(store, work, 101, first)
    wall, cpu = time.monotonic() - started, cpu_s() - before
    shown = figure("upload, adapters changed", second.size_b, second.new_b, [wall], [cpu])
    return shown, second.new_b / changed_b


async def measure(size_b: int, rounds: int) -> Report:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as place:
        path = Path(place)
        async with sink() as store:
            figures += await full(store, "sink", path / "work", size_b, rounds)
        async with s3_server(path / "s3") as store:
            figures += await full(store, "S3 server", path / "work", size_b, rounds)
            one, ratio = await lora(store, path / "lora", size_b)
    kernel = f"{platform.system()} {platform.release()}"
    return Report(
        machine=f"{processor()}, {kernel}, Python {platform.python_version()}",
        cores=os.cpu_count() or 1,
        load=round(os.getloadavg()[0], 1),
        rounds=rounds,
        figures=[*figures, one],
        lora_new_to_changed=round(ratio, 3),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def show(report: Report) -> None:
    print(f"{report.machine}; {report.cores} cores, shared with the servers")
    print(f"load {report.load}; medians of {report.rounds}")
    print(f"{'':26}{'GB':>7}{'moved GB':>10}{'GB/s':>7}{'CPU-s/GB':>10}")
    for row in report.figures:
        print(
            f"{row.name:26}{row.size_gb:7.2f}{row.moved_gb:10.4f}{row.gb_s:7.2f}{row.cpu_s_gb:10.2f}"
        )
    print(f"adapters: {report.lora_new_to_changed:.3f} bytes sent per byte changed")
    print(f"peak resident memory: {report.peak_rss_mb} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size-mb", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    report = anyio.run(measure, chosen.size_mb << 20, chosen.rounds)
    if chosen.json:
        print(msgspec.json.encode(report).decode())
    else:
        show(report)


if __name__ == "__main__":
    main()
