"""What a simulated machine can do to the machine that it is simulated on: nothing."""

import subprocess
from pathlib import Path

import pytest

from vaultlayer_actors.simulator.image import POWER, make_image


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
    assert (image.programs / program).read_text() == "#!/bin/sh\n"
