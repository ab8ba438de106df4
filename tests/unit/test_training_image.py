"""The image for training jobs pins what the project pins, and is built as an image should be."""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "agent" / "training-base.Dockerfile").read_text()
IGNORED = (ROOT / "agent" / "training-base.Dockerfile.dockerignore").read_text().splitlines()
BLOCK = re.compile(r"^([A-Za-z0-9._-]+)==[^\n]*(?:\n    --hash[^\n]*)*", re.MULTILINE)


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, continued lines joined and comments left out."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    split = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(words[0], words[1]) for words in split]


def of(kind: str) -> list[str]:
    return [arguments for name, arguments in instructions() if name == kind]


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return {canonicalize_name(found[1]): found[0] for found in BLOCK.finditer(text)}


def needed(name: str, extras: set[str], found: set[str]) -> set[str]:
    """All distributions that one needs, with these extras."""
    for text in distribution(name).requires or []:
        need = Requirement(text)
        chosen = [not need.marker or need.marker.evaluate({"extra": e}) for e in extras or {""}]
        key = canonicalize_name(need.name)
        if any(chosen) and (key not in found or need.extras):
            found.add(key)
            needed(need.name, need.extras, found)
    return found


def test_the_agents_pins_are_those_of_the_project() -> None:
    agent, base = pins("agent.txt"), pins("base.txt")
    assert agent == {name: base[name] for name in agent}


def test_the_agents_pins_are_all_that_it_needs_and_no_more() -> None:
    assert set(pins("agent.txt")) == needed("vaultlayer", {"", "agent"}, set()) - {"vaultlayer"}


def test_every_pin_has_a_hash_but_torch() -> None:
    assert all("--hash=" in block for block in pins("agent.txt").values())
    assert set(pins("torch.txt")) == {"torch"}
    assert all("--hash=" in block for block in pins("train.txt").values())


def test_every_file_that_is_copied_is_there_and_reaches_the_build() -> None:
    kept = [line[1:].rstrip("/") for line in IGNORED if line.startswith("!")]
    for arguments in of("COPY"):
        if arguments.startswith("--from"):
            continue
        for source in arguments.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in kept, source


@pytest.mark.parametrize("run", of("RUN"), ids=lambda run: run[:30])
def test_an_installation_is_lean_and_pinned(run: str) -> None:
    if "apt-get install" in run:
        assert run.startswith("apt-get update")
        assert "--no-install-recommends" in run
        assert "rm -rf /var/lib/apt/lists/*" in run
    for step in run.split("&&"):
        if "pip install" not in step:
            continue
        assert "--no-cache-dir" in step
        files = re.findall(r"-r \S*?([\w.]+\.txt)", step)
        if files == ["torch.txt"] or "/tmp/wheels/" in step:
            continue
        assert files
        assert "--require-hashes" in step
        assert (ROOT / "requirements" / files[0]).exists()
    assert "|" not in run.replace("||", ""), "a pipe hides the failure of its first part"
    assert "sudo" not in run


def test_images_are_pinned_and_nothing_is_fetched_behind_the_back_of_pip() -> None:
    (image,) = (one.partition("=")[2] for one in of("ARG") if one.startswith("CUDA_IMAGE"))
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-runtime-ubuntu\d\d\.04", image)
    assert all(one.startswith("${CUDA_IMAGE}") for one in of("FROM"))
    assert of("ADD") == []


def test_a_container_starts_as_its_provider_says() -> None:
    assert of("ENTRYPOINT") == []
    assert of("USER") == []
