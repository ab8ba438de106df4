"""Machines of one simulator are its own, whatever the id of a machine at another."""

from pathlib import Path

from vaultlayer_actors.simulator.runner import Runner


def test_the_death_of_a_machine_leaves_its_namesake_at_another_provider_alone(
    tmp_path: Path,
) -> None:
    one, other = Runner(tmp_path / "one"), Runner(tmp_path / "other")
    try:
        for runner in (one, other):
            runner.start("1000001", "exec sleep 60", {})
        one.kill("1000001")
        assert other.exit_status("1000001") is None
    finally:
        one.kill_everything()
        other.kill_everything()
