"""What a machine says of its first minute."""

from pathlib import Path

from vaultlayer_agent.boot_stages import FILE_NAME, Stage, read_stages, stage_times


def test_each_stage_lasts_until_the_next_one(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text(
        '{"stage":"began","detail":"","at":100}\n'
        '{"stage":"agent_installing","detail":"","at":101}\n'
        '{"stage":"agent_installed","detail":"","at":131}\n'
    )
    stages = read_stages(tmp_path)
    assert [one.stage for one in stages] == ["began", "agent_installing", "agent_installed"]
    assert stage_times(stages, 133.5) == {
        "began": 1.0,
        "agent_installing": 30.0,
        "agent_installed": 2.5,
    }


def test_a_torn_line_and_a_machine_without_bootstrap_are_no_fault(tmp_path: Path) -> None:
    assert read_stages(tmp_path) == []
    (tmp_path / FILE_NAME).write_text('{"stage":"began","at":5}\n{"stage":"agent_ins')
    assert [one.stage for one in read_stages(tmp_path)] == ["began"]


def test_a_clock_that_is_set_back_makes_no_negative_time() -> None:
    stages = [Stage(stage="began", at=900.0), Stage(stage="agent_found", at=100.0)]
    assert stage_times(stages, 101.0) == {"began": 0.0, "agent_found": 1.0}
