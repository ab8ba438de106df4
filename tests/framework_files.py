"""Makes checkpoint files as frameworks leave them, without any framework."""

import io
import json
import zipfile
from pathlib import Path


def safetensors_bytes(size_b: int = 64) -> bytes:
    tensor = {"dtype": "U8", "shape": [size_b], "data_offsets": [0, size_b]}
    header = json.dumps({"w": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size_b)


def torch_bytes(content: bytes = b"tensor") -> bytes:
    """A file in the zip format of `torch.save`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        # A ZipInfo of its own bears a fixed date, so the same content gives the same bytes.
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), b"\x80\x02N.")
        archive.writestr(zipfile.ZipInfo("archive/data/0"), content)
    return buffer.getvalue()


def trainer_files(step: int, *, ranks: int = 1, shards: int = 1) -> dict[str, bytes]:
    """The files of an HF Trainer's `checkpoint-<step>`, in the order in which it writes them."""
    files = {"config.json": b"{}"}
    if shards == 1:
        files["model.safetensors"] = safetensors_bytes()
    else:
        names = [f"model-{n:05}-of-{shards:05}.safetensors" for n in range(1, shards + 1)]
        files |= dict.fromkeys(names, safetensors_bytes())
        index = {"metadata": {}, "weight_map": {f"layer.{n}": name for n, name in enumerate(names)}}
        files["model.safetensors.index.json"] = json.dumps(index).encode()
    files["training_args.bin"] = torch_bytes()
    files["optimizer.pt"] = torch_bytes(b"moments")
    files["scheduler.pt"] = torch_bytes()
    if ranks == 1:
        files["rng_state.pth"] = torch_bytes()
    else:
        files |= {f"rng_state_{rank}.pth": torch_bytes() for rank in range(ranks)}
    log = [{"loss": float("nan"), "step": step}]
    files["trainer_state.json"] = json.dumps({"global_step": step, "log_history": log}).encode()
    return files


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def write_trainer(out: Path, step: int) -> Path:
    return write(out / f"checkpoint-{step}", trainer_files(step))
