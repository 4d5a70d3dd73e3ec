"""Reads a run folder into plain values, and says what is missing.

Knows the files of a run folder and their keys; does not know what they mean. A part that is absent or cannot be read
becomes a line in `Run.missing`, never a failure: a run that was cut short still gets a report.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinkaloud.base.errors import UserError
from thinkaloud.base.run import METRICS
from thinkaloud.base.statistics import majority_vote

Json = Any


@dataclass(frozen=True, kw_only=True)
class Graded:
    """One problem and a model's samples on it; the lists run in parallel, and what was not recorded is empty."""

    id: str
    "Identity of the problem, shared by all models: what pairing goes by."
    family: str
    "Name of the problem's family."
    level: int
    "Difficulty, in the family's own unit."
    question: str = ""
    "Its words."
    right: tuple[int, ...]
    "1 where the sample was right."
    ungradable: tuple[int, ...] = ()
    "1 where the verifier or the reference failed; such a sample counts for nobody."
    thinking_tokens: tuple[int, ...] = ()
    "Tokens of the monologue."
    answers: tuple[str, ...] = ()
    "What the answer states, where a vote can be taken."
    ways: tuple[str, ...] = ()
    "Way of working that the monologue was classified as."
    finishes: tuple[str, ...] = ()
    "Why the sample ended: stop or length."
    reasons: tuple[str, ...] = ()
    "Why the verifier judged as it did."
    mixed: tuple[int, ...] = ()
    "1 where the reply left the script of its question."

    def kept(self) -> list[int]:
        """Indices of the samples that could be graded."""
        flags = self.ungradable + (0,) * (len(self.right) - len(self.ungradable))
        return [index for index in range(len(self.right)) if not flags[index]]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model's graded samples on a set of problems."""

    model: str
    "Name of the model."
    samples: int
    "Samples asked for a problem."
    problems: tuple[Graded, ...]
    "The problems, in the order of the file."

    def of(self, family: str | None) -> list[Graded]:
        """The problems of one family, or all for None."""
        return [problem for problem in self.problems if family is None or problem.family == family]

    def families(self) -> list[str]:
        """Names of the families, in the order of their first problem."""
        return list(dict.fromkeys(problem.family for problem in self.problems))

    def values(self, family: str | None, measure: Callable[[Graded], float | None]) -> dict[str, float]:
        """One number a problem, by problem id; problems for which `measure` gives None are left out."""
        measured = ((problem.id, measure(problem)) for problem in self.of(family))
        return {key: value for key, value in measured if value is not None}


def share_right(problem: Graded) -> float | None:
    """Share of the gradable samples that were right; None if there is none."""
    kept = problem.kept()
    return sum(problem.right[index] for index in kept) / len(kept) if kept else None


def mean_thinking(problem: Graded) -> float | None:
    """Mean tokens of the monologue over all samples."""
    lengths = problem.thinking_tokens
    return sum(lengths) / len(lengths) if lengths else None


def majority_right(problem: Graded) -> float | None:
    """Whether the majority of the gradable samples is right; no answer is no vote, and a tie goes to the first."""
    if len(problem.answers) != len(problem.right) or not problem.kept():
        return None
    voters = [index for index in problem.kept() if problem.answers[index].strip()]
    if not voters:
        return 0.0
    return float(problem.right[voters[majority_vote([problem.answers[index].strip() for index in voters])]])


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that a run folder holds and a report needs."""

    path: Path
    "The run folder."
    recipe: str = ""
    "Text of the resolved recipe."
    environment: Mapping[str, Json] = field(default_factory=dict)
    "Machine and versions."
    ledger: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    "Counters by stage; the sum is under `total`."
    metrics: tuple[Mapping[str, Json], ...] = ()
    "Rows of metrics.jsonl."
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    "The main evaluation of each model."
    votes: Mapping[str, Evaluation] = field(default_factory=dict)
    "Several samples a problem, of each model."
    budgets: Mapping[str, Mapping[str, Evaluation]] = field(default_factory=dict)
    "By model, then by thinking budget (a number or `none`)."
    examples: tuple[Mapping[str, Json], ...] = ()
    "Monologues before and after reinforcement learning on the same problems."
    missing: tuple[str, ...] = ()
    "What is absent or unreadable, one line each."

    def families(self) -> list[str]:
        """Names of all families that any model was evaluated on."""
        return list(dict.fromkeys(name for one in self.evaluations.values() for name in one.families()))


def load_run(path: Path) -> Run:
    """Read the run folder at `path`; UserError if there is no such folder."""
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path} is not a run folder: give the folder that `thinkaloud train` wrote (run.dir)")
    missing: list[str] = []
    environment = _read_json(path / "environment.json", path, missing, "machine and versions are unknown")
    ledger = _read_json(path / "ledger.json", path, missing, "costs are unknown")
    evaluations, votes, budgets = _read_evaluations(path, missing)
    examples = _read_json(path / "examples.json", path, missing, "no monologues to show side by side")
    return Run(
        path=path,
        recipe=_read_text(path / "recipe.toml", path, missing, "the settings are unknown") or "",
        environment=environment if isinstance(environment, dict) else {},
        ledger=_ledger(ledger),
        metrics=tuple(row for file in _journals(path) for row in _read_rows(file, path, missing)),
        evaluations=evaluations,
        votes=votes,
        budgets=budgets,
        examples=tuple(one for one in examples or () if isinstance(one, dict)),
        missing=tuple(missing),
    )


def _read_text(file: Path, root: Path, missing: list[str], consequence: str) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        missing.append(f"{file.relative_to(root)} is not there: {consequence}")
    except (OSError, UnicodeDecodeError) as error:
        missing.append(f"{file.relative_to(root)} cannot be read ({error}): {consequence}")
    return None


def _read_json(file: Path, root: Path, missing: list[str], consequence: str) -> Json:
    text = _read_text(file, root, missing, consequence)
    if text is None:
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        missing.append(f"{file.relative_to(root)} is not valid JSON ({error}): {consequence}")
        return None


def _journals(path: Path) -> list[Path]:
    """Where the metrics are: in one file, or, while the run is not finished, in its stages' own."""
    whole = path / METRICS
    begun = [] if whole.exists() else sorted((path / "checkpoints").glob(f"*/{METRICS}"))
    return begun or [whole]


def _read_rows(file: Path, root: Path, missing: list[str]) -> Iterable[Mapping[str, Json]]:
    text = _read_text(file, root, missing, "no learning curves")
    broken = 0
    for line in (text or "").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            broken += 1
            continue
        if isinstance(row, dict):
            yield row
    if broken:
        missing.append(f"{file.relative_to(root)}: {broken} line(s) cannot be read and were left out")


def _ledger(raw: Json) -> dict[str, dict[str, float]]:
    if not isinstance(raw, dict):
        return {}
    stages = dict(raw.get("stages") or {})
    if raw.get("total"):
        stages["total"] = raw["total"]
    return {
        stage: {key: float(value) for key, value in counters.items() if isinstance(value, (int, float))}
        for stage, counters in stages.items()
        if isinstance(counters, dict)
    }


def _read_evaluations(
    path: Path, missing: list[str]
) -> tuple[dict[str, Evaluation], dict[str, Evaluation], dict[str, dict[str, Evaluation]]]:
    evaluations: dict[str, Evaluation] = {}
    votes: dict[str, Evaluation] = {}
    budgets: dict[str, dict[str, Evaluation]] = {}
    for file in sorted((path / "evaluations").glob("*.json")):
        raw = None if file.stem.endswith("-beyond") else _read_json(file, path, missing, "left out")
        if raw is None:
            continue
        try:
            model = str(raw["model"])
            if file.stem.endswith("-budget"):
                budgets[model] = {str(budget): evaluation_of(model, one) for budget, one in raw["budgets"].items()}
            else:
                (votes if file.stem.endswith("-vote") else evaluations)[model] = evaluation_of(model, raw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            missing.append(f"{file.relative_to(path)} has not the shape of an evaluation ({error!r}): left out")
    if not evaluations:
        missing.append("evaluations/ holds no evaluated model: nothing can be compared yet")
    if evaluations and not votes:
        missing.append("evaluations/*-vote.json are not there: no majority vote, no pass@k")
    if evaluations and not budgets:
        missing.append("evaluations/*-budget.json are not there: no accuracy against thinking budget")
    return evaluations, votes, budgets


def _stated(one: Json) -> tuple[str, ...]:
    """What each sample states; nothing where a vote makes no sense. Older runs hold the answers' texts only."""
    stated = one.get("stated") or one.get("answer") or ()
    return () if None in stated else tuple(str(answer) for answer in stated)


def evaluation_of(model: str, raw: Json) -> Evaluation:
    """The evaluation that `raw` holds as entries by problem."""
    problems = tuple(
        Graded(
            id=str(one["id"]),
            family=str(one["family"]),
            level=int(one.get("level", 0)),
            question=str(one.get("question") or ""),
            right=tuple(int(bool(flag)) for flag in one["right"]),
            ungradable=tuple(int(bool(flag)) for flag in one.get("ungradable") or ()),
            thinking_tokens=tuple(int(count or 0) for count in one.get("thinking_tokens") or ()),
            answers=_stated(one),
            ways=tuple(str(way) for way in one.get("way") or ()),
            finishes=tuple(str(finish) for finish in one.get("finish") or ()),
            reasons=tuple(str(reason) for reason in one.get("reason") or ()),
            mixed=tuple(int(bool(flag)) for flag in one.get("mixed") or ()),
        )
        for one in raw["problems"]
    )
    return Evaluation(model=model, samples=int(raw.get("samples", 1)), problems=problems)
