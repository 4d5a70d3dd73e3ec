"""Run folders that an older version wrote, mended so that this one goes on with them; those of a newer one refused.

Knows what each version of a run folder lacks. Does not know how a stage is trained.
"""

import json
from pathlib import Path

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import SCHEMA_VERSION, environment, read_json, write_json
from thinkaloud.train.checkpoints import checksum


def bring_up_to_date(run: Path) -> None:
    """Mend what an unfinished run of an older version lacks; UserError for a run of a newer version."""
    about = run / "environment.json"
    found = read_json(about) if about.exists() else {**environment(), "schema_version": 1}
    version = found.get("schema_version", 1)
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{run} was written by a newer thinkaloud (its version is {version}, this one knows {SCHEMA_VERSION}): "
            "install that one, or choose another folder with run.dir="
        )
    if version == SCHEMA_VERSION or (run / "summary.json").exists():
        return
    for stage in run.glob("checkpoints/*"):
        _second(stage)
    write_json(about, {**found, "schema_version": SCHEMA_VERSION})


def _second(stage: Path) -> None:
    """From version 1 to 2: checksums cover all of a state, and what was repeated is kept with the journals it is of."""
    for state in stage.glob("state-[0-9]*[0-9]"):
        try:
            facts = json.loads((state / "state.json").read_text("utf-8"))
        except (OSError, ValueError):  # damaged, and left so
            continue
        tensors = state / "state.safetensors"
        if "sha256" in facts and tensors.exists() and facts.pop("sha256") == checksum(tensors):
            write_json(state / "state.json", {"facts": facts, "sha256": checksum(tensors, facts)})
    counted = stage / "repeated.json"
    if counted.exists() and isinstance(tokens := read_json(counted), float):
        write_json(counted, {"tokens": tokens, "journals": None})
