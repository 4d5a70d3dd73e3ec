"""A stage's state on disk: written whole or not at all, with checksums, the newest good one found again."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from thinkaloud.base.errors import UserError, is_disk_full
from thinkaloud.base.ledger import GENERATED
from thinkaloud.base.run import JOURNALS, read_json, read_jsonl, write_json
from thinkaloud.train.optimiser import Optimiser

KEPT = 2
"How many of a stage's newest states are kept, so that a damaged one costs only the last stretch."
GOOD = "good"
"The empty file in a state that may be gone back to; the newest such state is kept, however old."
NEVER_TAKEN_BACK = ("variants", "hints")
"What of a loop's own state says what was made and shown: like the ledger, it only grows."

MOMENTS, MEAN = "optimiser.", "mean."
"What the names of an optimiser's tensors begin with, and those of the running mean of the weights."


class Rewound(Exception):  # noqa: N818
    """Not a fault: the stage's last good state is its newest again, and the stage must be opened anew."""


def save_state(
    folder: Path, step: int, tensors: dict[str, Tensor], facts: dict[str, Any], *, good: bool = True
) -> None:
    """Write `folder/state-STEP` atomically and let older states go; `good` marks one that may be gone back to.

    UserError where the disk is full; the states of before are untouched then.
    """
    final = folder / f"state-{step:06d}"
    partial = folder / f"state-{step:06d}.partial"
    for unfinished in folder.glob("state-*.partial"):
        shutil.rmtree(unfinished)
    try:
        _write_state(partial, tensors, facts)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial)
        if is_disk_full(error):
            size = sum(tensor.nbytes for tensor in tensors.values()) / 2**20
            raise UserError(
                f"no space is left for a checkpoint in {folder}: make room for {size + 1:,.0f} MiB, then the same "
                "command again goes on from the last one"
            ) from None
        raise
    if good:
        (partial / GOOD).touch()
    shutil.rmtree(final, ignore_errors=True)
    os.replace(partial, final)
    states = sorted(folder.glob("state-[0-9]*[0-9]"))
    last_good = [state for state in states if (state / GOOD).exists()][-1:]
    for old in states[:-KEPT]:
        if old not in last_good:
            shutil.rmtree(old)


def _write_state(partial: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    partial.mkdir(parents=True)
    file = partial / "state.safetensors"
    save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, file)
    with file.open("rb") as written:
        os.fsync(written.fileno())
    write_json(partial / "state.json", {"facts": facts, "sha256": checksum(file, facts)})


State = tuple[dict[str, Tensor], dict[str, Any]]
"Tensors by name, and facts."


def load_state(folder: Path, *, good: bool = False) -> State | None:
    """The newest undamaged state of `folder`, or the newest good one; None where there is none.

    A state whose journals were cut off since (the machine lost its power) counts as damaged.
    """
    for state in sorted(folder.glob("state-[0-9]*[0-9]"), reverse=True):
        if good and not (state / GOOD).exists():
            continue
        try:
            written = json.loads((state / "state.json").read_text("utf-8"))
            facts: dict[str, Any] = written["facts"]
            if written["sha256"] == checksum(state / "state.safetensors", facts) and _reached(folder, facts):
                return load_file(state / "state.safetensors"), facts
        except (OSError, ValueError, KeyError, TypeError):
            pass
        print(f"checkpoint {state} is damaged: going on from the one before", flush=True)
    return None


def _reached(folder: Path, facts: dict[str, Any]) -> bool:
    """Whether the journals hold all that they held when a state was written."""
    sizes = {name: facts.get(f"{Path(name).stem}_bytes", 0) for name in JOURNALS}
    return all(size == 0 or (folder / name).stat().st_size >= size for name, size in sizes.items())


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


def tensors_of(optimiser: Optimiser, mean: Sequence[Tensor]) -> dict[str, Tensor]:
    """Weights, their running mean and moments by name, for a state."""
    tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in optimiser.parameters.items()}
    tensors |= {f"{MEAN}{number:06d}": value for number, value in enumerate(mean)}
    return tensors | {f"{MOMENTS}{name}": value for name, value in optimiser.state().items()}


def take_up(optimiser: Optimiser, tensors: dict[str, Tensor]) -> list[Tensor]:
    """Set weights and moments to what `tensors_of` gave; returns the running mean of the weights."""
    with torch.no_grad():
        for name, parameter in optimiser.parameters.items():
            parameter.copy_(tensors[f"model.{name}"])
    moments = {name: tensor for name, tensor in tensors.items() if name.startswith(MOMENTS)}
    optimiser.load_state({name.removeprefix(MOMENTS): tensor for name, tensor in moments.items()})
    return [tensors[name] for name in sorted(tensors) if name.startswith(MEAN)]


def count_repeated(folder: Path, spent: float) -> float:
    """What a killed run had spent beyond its last checkpoint is spent again: its sum, kept across kills.

    Of a step that was not logged its replies are counted, as far as they are written. Journals that a kill kept from
    being cut back are not counted twice.
    """
    files = [folder / name for name in JOURNALS]
    seen = [[file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.exists()]
    counted = folder / "repeated.json"
    before = read_json(counted) if counted.exists() else {}
    tokens: float = before.get("tokens", 0.0)
    if seen == before.get("journals"):
        return tokens
    rows, rollouts = map(read_jsonl, files)
    logged, replies = (rows[-1]["spent"], rows[-1]["rollouts"]) if rows else (0.0, 0)
    again = logged + GENERATED * sum(row["tokens"] for row in rollouts[replies:]) - spent
    if again > 0:
        tokens += again
        write_json(counted, {"tokens": tokens, "journals": seen})
    return tokens


def drop_states(folder: Path) -> None:
    """Remove the states of a finished stage."""
    for state in folder.glob("state-*"):
        shutil.rmtree(state)


def checksum(tensors: Path, facts: dict[str, Any] | None = None) -> str:
    """SHA-256 of a file of tensors, and of the facts beside it."""
    with tensors.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(b"" if facts is None else json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()
