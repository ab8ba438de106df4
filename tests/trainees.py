"""Runs a training script under hooks and capture as the agent does, without broker and bucket.

What a cut holds is copied away at once, as an upload would; a restart puts it into an empty directory.
`VAULTLAYER_TEST_INTERPRETER` names another Python that runs the scripts, as in `ghosts.py`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec

from framework_files import write
from vaultlayer.checkpoint.manifest import FileEntry, Manifest
from vaultlayer_agent.capture import Capture, Cut, HookEvent, HookServer, hook_path

JOBS = Path(__file__).parent / "jobs"
LIMIT_S = 90
INTERPRETER = os.environ.get("VAULTLAYER_TEST_INTERPRETER") or sys.executable


class Saved(msgspec.Struct):
    """A cut after its upload: a directory with its files, and what is needed to put them back."""

    cut: Cut
    directory: Path

    @property
    def names(self) -> set[str]:
        return {file.name for file in self.cut.files}


class Run(msgspec.Struct):
    """What came of one process."""

    status: int
    output: str
    events: list[HookEvent]
    saved: list[Saved]
    final: Saved | None = None

    @property
    def digest(self) -> str:
        return next(
            line.split()[1] for line in self.output.splitlines() if line.startswith("digest ")
        )

    def told(self, kind: str) -> list[HookEvent]:
        return [event for event in self.events if event.kind == kind]


class Trainee:
    """One job whose attempts each get a directory of their own at the same path."""

    def __init__(
        self, top: Path, script: str, *words: str, packages: str = "", ranks: int = 1
    ) -> None:
        self.top = top
        self.work = top / "work"
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
        self.command = [
            INTERPRETER,
            *(launcher if ranks > 1 else []),
            str(JOBS / script),
            *words,
        ]
        self.more: dict[str, str] = {}
        self.code: dict[str, bytes] = {}
        self.beside: dict[str, bytes] = {}
        self._packages = f"{JOBS / 'older'}{os.pathsep}{packages}" if packages else ""
        self._saves = 0

    def env(self, **more: str) -> dict[str, str]:
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        pinned = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1", "HF_HUB_OFFLINE": "1"}
        return {**keep, **pinned, "PYTHONPATH": self._packages, **more}

    def run_bare(self) -> Run:
        """Run to the end without hooks and capture, in an empty directory."""
        self._empty()
        done = subprocess.run(
            self.command,
            cwd=self.work,
            env=self.env(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Run(done.returncode, done.stdout, [], [])

    async def run(
        self,
        *,
        resume: Saved | None = None,
        kill: Callable[[HookEvent], bool] = lambda _: False,
        kill_when: str = "",
        save: Callable[[HookEvent], bool] = lambda _: False,
        hooks: bool = True,
    ) -> Run:
        """Run one attempt.

        Args:
            resume: what is put in place first; None for the first attempt.
            kill: asked at each event whether the whole thing dies now.
            kill_when: a word in the output, or the path of a file, at which the whole thing dies once
                that is so and something newer than before has been saved.
            save: asked at each event whether to ask the script for a save.
            hooks: whether the hooks are loaded.
        """
        self._empty()
        write(self.work, self.code)
        code = code_of(self.work, list(self.code))
        held = str(kill.step) if isinstance(kill, AtStep) and kill.training == 1 else ""
        if resume is not None:
            restore(resume, self.work)
        write(self.work, self.beside)
        capture = Capture(places={"work": self.work}, code=code, staging=self.top / "staging")
        capture.set_aside()
        run = Run(0, "", [], [])
        output = self.top / "output"
        with anyio.fail_after(LIMIT_S):
            async with (
                HookServer(self.top / "hooks.sock") as server,
                anyio.create_task_group() as group,
            ):
                with output.open("wb") as sink:
                    process = subprocess.Popen(
                        self.command,
                        cwd=self.work,
                        env=(self._hooked(resume) if hooks else self.env())
                        | {"HOLD_AT_STEP": held},
                        stdout=sink,
                        stderr=subprocess.STDOUT,
                    )
                try:
                    group.start_soon(self._collect, capture, run)
                    if kill_when:
                        group.start_soon(self._kill_when, kill_when, run, process)
                    group.start_soon(_listen, server, capture, run, process, kill, save)
                    run.status = await anyio.to_thread.run_sync(process.wait)
                finally:
                    process.kill()
                    process.wait()
                group.cancel_scope.cancel()
        run.output = output.read_text()
        if run.status == 0:
            run.final = self._upload(capture, await capture.final())
        return run

    def _hooked(self, resumed: Saved | None) -> dict[str, str]:
        path = f"{hook_path()}{os.pathsep}{self._packages}" if self._packages else str(hook_path())
        more = dict(self.more)
        if resumed is not None:
            own = self.top / "own-files"
            names = [f"{os.path.realpath(self.work)}/{name}\0" for name in resumed.names]
            own.write_text("".join(names))
            more |= {"VAULTLAYER_RESUME": "1", "VAULTLAYER_OWN_FILES": str(own)}
        return self.env(**more) | {
            "PYTHONPATH": path,
            "VAULTLAYER_EVENTS": str(self.top / "hooks.sock"),
        }

    async def _kill_when(self, word: str, run: Run, process: "subprocess.Popen[bytes]") -> None:
        output = self.top / "output"
        while not (run.saved and (word in output.read_text() or (self.work / word).exists())):
            await anyio.sleep(0.02)
        process.send_signal(signal.SIGKILL)

    async def _collect(self, capture: Capture, run: Run) -> None:
        async for cut in capture.cuts():
            run.saved.append(self._upload(capture, cut))

    def _upload(self, capture: Capture, cut: Cut) -> Saved:
        self._saves += 1
        directory = self.top / "bucket" / str(self._saves)
        for file in cut.files:
            target = directory / file.name
            if file.kind == "file":
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.path, target)
        capture.release(cut)
        return Saved(cut, directory)

    def _empty(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)


def code_of(work: Path, names: list[str]) -> Manifest:
    """Make the manifest of a job's code, as far as the capture looks at it: names, sizes and times."""
    found = {name: (work / name).stat() for name in names}
    files = tuple(
        FileEntry(
            root="work",
            name=name,
            kind="file",
            mode=0o644,
            mtime_ns=stat.st_mtime_ns,
            size_b=stat.st_size,
            pieces=(),
            target="",
        )
        for name, stat in found.items()
    )
    return Manifest(
        format=1,
        job="jaaaaaaaaa",
        attempt=0,
        incarnation="",
        seq=0,
        step=None,
        parent="",
        created_ms=0,
        files=files,
        packs=(),
        meta={},
    )


async def _listen(
    server: HookServer,
    capture: Capture,
    run: Run,
    process: "subprocess.Popen[bytes]",
    kill: Callable[[HookEvent], bool],
    save: Callable[[HookEvent], bool],
) -> None:
    async for event in server:
        run.events.append(event)
        if kill(event):
            process.send_signal(signal.SIGKILL)
        if save(event):
            await server.tell("save")
        capture.heard(event)


def restore(saved: Saved, work: Path) -> None:
    """Put a cut's files back, with their modification times; directories get theirs last."""
    for file in saved.cut.files:
        target = work / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.kind == "symlink":
            target.symlink_to(file.target)
        elif file.kind == "file":
            shutil.copyfile(saved.directory / file.name, target)
            target.chmod(file.mode)
            os.utime(target, ns=(file.mtime_ns, file.mtime_ns))
        else:
            target.mkdir(exist_ok=True)
    for file in saved.cut.files:
        if file.kind == "dir":
            os.utime(work / file.name, ns=(file.mtime_ns, file.mtime_ns))


def history_of(work: Path) -> list[dict[str, float]]:
    """Give the Trainer's log without its last entry and without running times and TRL's token counter."""
    passing = ("runtime", "per_second", "num_tokens")
    return [
        {name: value for name, value in entry.items() if not name.endswith(passing)}
        for entry in json.loads((work / "history.json").read_text())[:-1]
    ]


Kill = Callable[[HookEvent], bool]


class AtStep:
    """True once, when a training of this number has come so far."""

    def __init__(self, step: int, training: int = 1) -> None:
        self.step = step
        self.training = training
        self._seen = 0

    def __call__(self, event: HookEvent) -> bool:
        self._seen += event.kind == "train"
        return (
            self._seen == self.training and event.kind == "step" and (event.step or 0) >= self.step
        )


def trainee_of(top: Path, variant: str, *words: str, packages: str = "") -> Trainee:
    return Trainee(top, "hf_variants.py", "--variant", variant, *words, packages=packages)


async def killed_twice(trainee: Trainee, first: Kill, second: Kill) -> tuple[Run, Run, Run, Run]:
    """Give the bare run, the two that were killed, and the one that came to the end."""
    bare = trainee.run_bare()
    assert bare.status == 0, bare.output
    history = history_of(trainee.work)
    one = await trainee.run(kill=first)
    assert one.status == -9, one.output
    two = await trainee.run(resume=one.saved[-1], kill=second)
    assert two.status == -9, two.output
    three = await trainee.run(resume=two.saved[-1])
    assert three.status == 0, three.output
    for run in (one, two, three):
        assert not run.told("hook_failed"), run.told("hook_failed")
    assert three.digest == bare.digest
    assert history_of(trainee.work) == history
    return bare, one, two, three


def resumed(run: Run) -> list[tuple[str, int | None, str]]:
    return [
        (Path(event.path).parent.name, event.step, event.detail) for event in run.told("resumed")
    ]
