"""What was measured of a checkpoint's thinking: budgets that efforts mean, when a thought may end early, what a vote is
worth. It lies as calibration.json beside the weights that it belongs to, and is made by `thinkaloud calibrate`.

Knows: the file, and whether it fits the weights. Does not know: problems, nor how any of it is measured.
"""

import hashlib
import json
from pathlib import Path

from thinkaloud.base.config import Settings, parse_settings
from thinkaloud.base.conformal import Knots, looked_up
from thinkaloud.inference.defaults import read_json

FILE = "calibration.json"
SCHEMA = 1
POOLED = "pooled"
"The kind of a question of which nothing is known: all calibrated kinds together, each weighing the same."
LEVELS = ("low", "medium", "high")
WHOLE, SLICES, SLICE = 2**26, 64, 2**16
"Bytes up to which a file is hashed whole; else so many slices of it, of so many bytes."
ROUNDED = ("int8", "int4", "fp8")
"Formats of weights that answer otherwise than the checkpoint itself; they need a calibration of their own."


class ExitRule(Settings):
    """When a thought may end early, at a stated risk."""

    risk: float
    "share of the questions that may be lost: right with the whole thought, wrong without its rest"
    confidence: float | None
    "probability that each token of a trial answer must have, the end of turn included; None: no early end pays here"
    run: int = 1
    "how many such trial answers in a row must be the same"
    gap: int = 1
    "tokens of thought from one trial to the next, at least; trials stand at ends of lines"
    skip: int = 0
    "tokens of thought before the first trial"
    saving: float = 0.0
    "share of all tokens saved on the problems that settled it, trial answers paid"


class Point(Settings):
    """Accuracy under one budget."""

    budget: int | None
    "most tokens of the thought; None: no limit"
    accuracy: float
    "share right"
    low: float
    "lower end of its 95 % interval"
    high: float
    "upper end"
    thinking_tokens: float
    "mean tokens of the thought"


class Held(Settings):
    """What a rule did on sealed problems."""

    risk: float
    "the rule's"
    lost: float
    "share of the problems that were lost"
    low: float
    "lower end of its 95 % interval"
    high: float
    "upper end"
    saved: float
    "share of all tokens, trial answers paid"


class Kind(Settings):
    """What was measured for one kind of question."""

    budgets: dict[str, int | None]
    "effort -> most tokens of the thought; None: no limit"
    exits: list[ExitRule] = []
    "rules by rising risk"
    votes: dict[int, Knots] = {}
    "of so many replies, the share that states the answer -> how often it is right; thoughts of any length"
    problems: int
    "dev problems that settled it"
    curve: list[Point] = []
    "accuracy against budget, on those"
    sealed: dict[str, Point] = {}
    "effort, or unlimited -> what it gave on sealed problems"
    held: list[Held] = []
    "what the rules did on sealed problems"


class Calibration(Settings):
    """Everything in calibration.json."""

    schema_version: int = SCHEMA
    "of this file"
    weights: str
    "digest of the weights that it was measured on"
    format: str = "whole"
    "whole, or the format that they were rounded to"
    temperature: float
    "of the replies"
    max_tokens: int
    "most tokens of a reply"
    probe_tokens: int
    "most tokens of a trial answer"
    kinds: dict[str, Kind]
    "by name of the family, and pooled"

    def of(self, kind: str | None) -> Kind:
        """What holds for a kind of question; the pooled one where that is not known."""
        return self.kinds.get(kind or POOLED, self.kinds[POOLED])

    def rule(self, risk: float, kind: str | None = None) -> ExitRule | None:
        """The rule of the greatest calibrated risk within `risk`; None where no early end is within it, or pays."""
        within = [one for one in self.of(kind).exits if one.risk <= risk + 1e-12]
        return within[-1] if within and within[-1].confidence is not None else None

    def confidence(self, share: float, drawn: int, kind: str | None = None) -> float | None:
        """How often an answer is right that has this share of so many votes; None where votes are not calibrated."""
        votes = self.of(kind).votes
        known = [count for count in votes if count <= drawn]
        return looked_up(votes[max(known)], share) if known else None


def digest_of(folder: Path) -> str:
    """What differs as soon as the weights do; of large files only parts spread over them are read."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        found.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            starts = [0] if size <= WHOLE else [index * (size - SLICE) // (SLICES - 1) for index in range(SLICES)]
            for start in starts:
                file.seek(start)
                found.update(file.read(WHOLE if size <= WHOLE else SLICE))
    return found.hexdigest()[:32]


def format_of(weights: str) -> str:
    """The format of an engine's weights, as a calibration names it."""
    return weights if weights in ROUNDED else "whole"


def calibration_of(folder: Path, weights: str) -> Calibration | None:
    """The calibration beside a checkpoint; None where there is none, or one of other weights or of another schema.

    `weights` is the engine's format of them. Raises UserError for a broken file.
    """
    raw = read_json(folder / FILE)
    if raw.get("schema_version") != SCHEMA:
        return None
    found = parse_settings(Calibration, raw, str(folder / FILE))
    fits = found.format == format_of(weights) and found.weights == digest_of(folder)
    return found if fits else None


def as_json(calibration: Calibration) -> str:
    """The file's text."""
    return json.dumps(calibration.model_dump(mode="json"), indent=1) + "\n"
