"""A stage's state on disk: written whole or not at all, with checksums, the newest good one found again."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import read_json, read_jsonl, write_json
from thinkaloud.model import Transformer
from thinkaloud.train.optimiser import Optimiser

KEPT = 2
"How many of a stage's newest states are kept, so that a damaged one costs only the last stretch."
GOOD = "good"
"The empty file in a state that may be gone back to; the newest such state is kept, however old."
NEVER_TAKEN_BACK = ("variants", "hints")
"What of a loop's own state says what was made and shown: like the ledger, it only grows."

MOMENTS = "optimiser."
"What the names of an optimiser's tensors begin with."


class Rewound(Exception):  # noqa: N818
    """Not a fault: the stage's last good state is its newest again, and the stage must be opened anew."""


def save_state(
    folder: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], *, good: bool = True
) -> None:
    """Write `folder/state-STEP` atomically and let older states go; `good` marks one that may be gone back to."""
    final = folder / f"state-{step:06d}"
    partial = folder / f"state-{step:06d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, partial / "state.safetensors")
    write_json(partial / "state.json", {**facts, "sha256": _checksum(partial / "state.safetensors")})
    if good:
        (partial / GOOD).touch()
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    states = sorted(folder.glob("state-[0-9]*[0-9]"))
    last_good = [state for state in states if (state / GOOD).exists()][-1:]
    for old in states[:-KEPT]:
        if old not in last_good:
            shutil.rmtree(old)


def load_state(folder: Path, *, good: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest undamaged state of `folder`, or the newest good one; None where there is none."""
    for state in sorted(folder.glob("state-[0-9]*[0-9]"), reverse=True):
        if good and not (state / GOOD).exists():
            continue
        try:
            facts: dict[str, Any] = json.loads((state / "state.json").read_text())
            if facts.pop("sha256") == _checksum(state / "state.safetensors"):
                return load_file(state / "state.safetensors"), facts
        except (OSError, ValueError, KeyError):
            pass
        print(f"checkpoint {state} is damaged: going on from the one before", flush=True)
    return None


State = tuple[dict[str, Tensor], dict[str, Any]]
"Tensors by name, and facts."


def last_good(folder: Path) -> State:
    """The newest good state; UserError where there is none, for a stage writes one before its first step."""
    state = load_state(folder, good=True)
    if state is None:
        raise UserError(f"{folder} holds no undamaged state to go back to: delete the run's folder and start again")
    return state


def rewind(folder: Path, good: State, facts: dict[str, Any]) -> NoReturn:
    """Make `good` the newest state, at the step and with the account of `facts`; raises Rewound.

    Weights, moments and what the loop remembers are those of then. Steps are counted on, so that no noise and no order
    of problems comes a second time, and so is all that was spent.
    """
    tensors, then = good
    kept = {key: facts["extra"][key] for key in NEVER_TAKEN_BACK if key in facts["extra"]}
    facts["ledger"]["undone_tokens"] += round(facts["spent"] - then["spent"])
    save_state(folder, facts["step"], tensors, {**facts, "extra": {**then["extra"], **kept}})
    raise Rewound


def tensors_of(model: Transformer, optimiser: Optimiser) -> dict[str, Tensor]:
    """Weights and moments by name, for a state."""
    tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in model.named_parameters()}
    return tensors | {f"{MOMENTS}{name}": value for name, value in optimiser.state().items()}


def take_up(model: Transformer, optimiser: Optimiser, tensors: dict[str, Tensor]) -> None:
    """Set weights and moments to what `tensors_of` gave."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[f"model.{name}"])
    moments = {name: tensor for name, tensor in tensors.items() if name.startswith(MOMENTS)}
    optimiser.load_state({name.removeprefix(MOMENTS): tensor for name, tensor in moments.items()})


def count_repeated(folder: Path, spent: float) -> float:
    """What a killed run had spent beyond its last checkpoint is spent again: its sum, kept across kills."""
    rows = read_jsonl(folder / "metrics.jsonl")
    counted = folder / "repeated.json"
    before: float = read_json(counted) if counted.exists() else 0.0
    lost = max(0.0, rows[-1]["spent"] - spent) if rows else 0.0
    if lost:
        write_json(counted, before + lost)
    return before + lost


def drop_states(folder: Path) -> None:
    """Remove the states of a finished stage."""
    for state in folder.glob("state-*"):
        shutil.rmtree(state)


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
