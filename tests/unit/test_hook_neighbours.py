"""Scripts that do unusual things to their interpreter go on under the hooks as they would without them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from framework_files import write
from vaultlayer_agent.capture import hook_path

HOOKS = hook_path()
TORCH = {
    "torch.py": b"import types\nserialization = types.SimpleNamespace()\n"
    b"def save(obj, f): open(f, 'w').write(obj)\ndef load(f): return open(f).read()\n"
}


def both(
    tmp_path: Path, code: str, *flags: str, **env: str
) -> "list[subprocess.CompletedProcess[str]]":
    """Run a script bare and hooked, each in a directory of its own."""
    runs: list[subprocess.CompletedProcess[str]] = []
    for name in ("bare", "hooked"):
        work = write(tmp_path / name, TORCH)
        (work / "script.py").write_text(code)
        ours = {"VAULTLAYER_RESUME": "1"} if name == "hooked" else {}
        path = os.pathsep.join([str(HOOKS)] * (name == "hooked") + [env.get("PYTHONPATH", "")])
        runs.append(
            subprocess.run(
                [sys.executable, *flags, "script.py"],
                cwd=work,
                env={"PATH": os.environ["PATH"], **env, **ours, "PYTHONPATH": path},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        )
    return runs


SCRIPTS = {
    "patches torch.save itself, before and after": """
import torch
kept = torch.save
def mine(obj, f):
    kept(obj + '!', f)
torch.save = torch.serialization.save = mine
torch.save('content', 'a.pt')
print(torch.load('a.pt'))
""",
    "forks": """
import os, torch
pid = os.fork()
if pid == 0:
    torch.save('child', 'c.pt')
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), torch.load('c.pt'))
""",
    "spawns": """
import multiprocessing as mp
def work(q):
    import torch
    torch.save('spawned', 's.pt')
    q.put(torch.load('s.pt'))
if __name__ == '__main__':
    context = mp.get_context('spawn')
    queue = context.Queue()
    child = context.Process(target=work, args=(queue,))
    child.start()
    print(queue.get(timeout=30))
    child.join()
    print(child.exitcode)
""",
    "starts itself anew by exec": """
import os, sys, torch
if len(sys.argv) == 1:
    os.execv(sys.executable, [sys.executable, __file__, 'again'])
torch.save('second life', 'x.pt')
print(torch.load('x.pt'), sys.argv[1:])
""",
    "puts a finder of its own in front": """
import sys
class Own:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == 'torch':
            print('asked for', name)
        return None
sys.meta_path.insert(0, Own)
import torch
torch.save('kept', 'k.pt')
print(torch.load('k.pt'))
""",
    "reloads a module": """
import importlib, torch
torch = importlib.reload(torch)
torch.save('kept', 'k.pt')
print(torch.load('k.pt'))
""",
    "clears the environment": """
import os
os.environ.clear()
import torch
torch.save('kept', 'k.pt')
print(torch.load('k.pt'), sorted(os.environ))
""",
    "closes every descriptor": """
import os, torch
os.closerange(3, 256)
torch.save('kept', 'k.pt')
print(torch.load('k.pt'))
""",
    "ends with an error": """
import torch
raise SystemExit(5)
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_goes_on_as_it_would_without_us(tmp_path: Path, name: str) -> None:
    bare, hooked = both(tmp_path, SCRIPTS[name])
    assert (hooked.stdout, hooked.stderr, hooked.returncode) == (
        bare.stdout,
        bare.stderr,
        bare.returncode,
    )
    assert bare.stdout or bare.returncode == 5, bare.stderr


@pytest.mark.parametrize("flag", ["-I", "-E", "-S", "-s", "-O", "-X utf8"])
def test_an_interpreter_with_flags_of_its_own_runs_alike(tmp_path: Path, flag: str) -> None:
    code = "import sys; sys.path.insert(0, '.'); import torch; torch.save('x', 'x.pt'); print(1)"
    bare, hooked = both(tmp_path, code, *flag.split())
    assert (hooked.stdout, hooked.stderr) == (bare.stdout, bare.stderr)
    assert hooked.stdout == "1\n"


def test_a_script_that_uses_the_module_for_saving_by_hand_finds_it(tmp_path: Path) -> None:
    code = """
try:
    import vaultlayer_checkpoint
    print(vaultlayer_checkpoint.directory())
except ImportError:
    print('not here')
"""
    bare, hooked = both(tmp_path, code, CHECKPOINT_DIR="kept")
    assert (bare.stdout, hooked.stdout) == ("not here\n", "kept\n")


OLDEST = [
    *(Path("/usr/bin").glob("python3.9")),
    *(Path("/usr/local/bin").glob("python3.9")),
    *(Path.home().glob(".pyenv/versions/3.9.*/bin/python3.9")),
]


@pytest.mark.skipif(not OLDEST, reason="no Python 3.9 here")
def test_every_hook_is_read_by_the_oldest_python(tmp_path: Path) -> None:
    code = f"""
import importlib, os, sys
sys.path.insert(0, {str(HOOKS)!r})
import vaultlayer_hooks, vaultlayer_checkpoint
vaultlayer_hooks.install()
for top, _, names in os.walk({str(HOOKS / "vaultlayer_hooks")!r}):
    for name in sorted(names):
        if name.endswith('.py'):
            path = os.path.relpath(os.path.join(top, name), {str(HOOKS)!r})[:-3]
            importlib.import_module(path.replace(os.sep, '.').replace('.__init__', ''))
print('all')
"""
    done = subprocess.run(
        [OLDEST[0], "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.stdout, done.stderr) == ("all\n", "")
