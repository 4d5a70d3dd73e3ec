"""A stage's state on disk: written whole or not at all, with checksums, the newest good one found again."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from thinkaloud.base.run import write_json

KEPT = 2
"How many of a stage's newest states are kept, so that a damaged one costs only the last stretch."


def save_state(folder: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write `folder/state-STEP` atomically and let older states go."""
    final = folder / f"state-{step:06d}"
    partial = folder / f"state-{step:06d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, partial / "state.safetensors")
    write_json(partial / "state.json", {**facts, "sha256": _checksum(partial / "state.safetensors")})
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    for old in sorted(folder.glob("state-[0-9]*[0-9]"))[:-KEPT]:
        shutil.rmtree(old)


def load_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest undamaged state of `folder`, or None where there is none."""
    for state in sorted(folder.glob("state-[0-9]*[0-9]"), reverse=True):
        try:
            facts: dict[str, Any] = json.loads((state / "state.json").read_text())
            if facts.pop("sha256") == _checksum(state / "state.safetensors"):
                return load_file(state / "state.safetensors"), facts
        except (OSError, ValueError, KeyError):
            pass
        print(f"checkpoint {state} is damaged: going on from the one before", flush=True)
    return None


def drop_states(folder: Path) -> None:
    """Remove the states of a finished stage."""
    for state in folder.glob("state-*"):
        shutil.rmtree(state)


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
