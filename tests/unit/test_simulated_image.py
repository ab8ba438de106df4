"""What a simulated machine can do to the machine that it is simulated on: nothing."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from vaultlayer_actors.simulator.clock import VirtualClock
from vaultlayer_actors.simulator.fleet import Fleet
from vaultlayer_actors.simulator.image import OFF, POWER, make_image
from vaultlayer_actors.simulator.machine import State
from vaultlayer_actors.simulator.runner import Runner


@pytest.mark.parametrize("program", POWER)
def test_a_simulated_machine_that_ends_itself_leaves_the_real_one_on(
    tmp_path: Path, program: str
) -> None:
    image = make_image(tmp_path)
    environ = image.environment("/usr/sbin:/usr/bin:/bin")
    found = subprocess.run(
        ["/bin/sh", "-c", f"command -v {program}"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()) == image.programs / program
    subprocess.run([program], env={**environ, "HOME": str(tmp_path)}, check=True)
    assert (tmp_path / OFF).exists()


@pytest.mark.anyio
@pytest.mark.parametrize(("off_ends", "state"), [(True, State.GONE), (False, State.STOPPED)])
async def test_a_simulated_vm_lives_until_it_powers_itself_off(
    tmp_path: Path, off_ends: bool, state: State
) -> None:
    runner = Runner(tmp_path / "disks", image=make_image(tmp_path / "image"))
    fleet = Fleet(VirtualClock(), runner)
    fleet.is_vm = True
    script = "(until [ -e go ]; do sleep 0.01; done; shutdown -h now) & exit 0"
    machine = fleet.make("vl-jabcdefgh2-a1", 1.0, script=script, off_ends=off_ends)
    machine.stopped_usd_h = 0.01
    first = await eventually(lambda: runner.exit_status(machine.id))
    fleet.tick()
    assert (first, machine.state) == (0, State.RUNNING)
    (runner.disk(machine.id) / "go").touch()
    await eventually(lambda: 0 if runner.is_off(machine.id) else None)
    fleet.tick()
    assert (machine.state, machine.reason) == (state, "powered off")
    assert bool(fleet.ledger.billed()) == (state is State.STOPPED)
    fleet.close()


async def eventually(ask: Callable[[], int | None]) -> int:
    with anyio.fail_after(30):
        while (found := ask()) is None:
            await anyio.sleep(0.01)
    return found
