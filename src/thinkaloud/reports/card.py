"""README.md of a published model: what it is, how it is run, how well it does, what it cost, how to make it again.

Knows the run that trained it, by its folder, and the facts of the files that are published; does not know models. What
no run tells is left out: nothing is claimed of a model that was not trained here.
"""

import json
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thinkaloud.reports.html import COUNTERS
from thinkaloud.reports.load import Json, Run, load_run
from thinkaloud.reports.tables import ordered, quantity, summarise, summary_table

KINDS = {
    "sft": "fine-tuning on demonstrations",
    "rl": "reinforcement learning with verifiable rewards",
    "rft": "fine-tuning on its own verified replies",
    "distil": "on-policy distillation from a teacher",
    "given": "taken over from another run",
}
"What a kind of stage is."


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is published."""

    name: str
    "name of the folder, or of the repository"
    config: Mapping[str, Json]
    "config.json of the model"
    parameters: int
    "numbers in its weights, or in the adapter's"
    dtype: str
    "the type that they are stored in"
    adapter_for: str | None = None
    "where it is an adapter alone: the name of the model that it changes"


def trained_by(source: Path) -> tuple[Path, str] | None:
    """The run and the stage that a model's folder, RUN/model or RUN/checkpoints/STAGE/model, comes from, if any."""
    beside = source.resolve().parent
    run = beside.parents[1] if beside.parent.name == "checkpoints" else beside
    if source.name != "model" or not (run / "recipe.toml").exists():
        return None
    recipe = tomllib.loads((run / "recipe.toml").read_text(encoding="utf-8"))
    return run, beside.name if beside.parent.name == "checkpoints" else recipe["run"]["result"]


def model_card(published: Published, trained: tuple[Path, str] | None = None) -> str:
    """The card, in Markdown with the hub's front matter; `trained` is the run's folder and the stage."""
    if trained is None:
        parts = [_front(published, None, "", {}), _title(published), _running(published, "What is 12 + 30?")]
        return "\n\n".join(parts) + "\n"
    folder, stage = trained
    run = load_run(folder)
    recipe = tomllib.loads(run.recipe)
    asked = _questions(run, stage)
    example = next(iter(asked.values()), "What is 12 + 30?")
    parts = [
        _front(published, run, stage, recipe),
        _title(published),
        _origin(stage, recipe),
        _taught(asked),
        _running(published, example),
        _measured(run, stage, recipe),
        _cost(run, lineage(recipe, stage)),
        _again(run),
        _licence(recipe),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def lineage(recipe: Mapping[str, Json], stage: str) -> list[str]:
    """The stages that a stage's model went through, the first one first, itself last."""
    found = [stage]
    while (before := recipe["stages"].get(found[0], {}).get("init")) is not None:
        found.insert(0, before)
    return found


def _base(recipe: Mapping[str, Json]) -> str | None:
    """The checkpoint that training started from; None for fresh weights."""
    model = recipe.get("model")
    return model if isinstance(model, str) else None


def _front(published: Published, run: Run | None, stage: str, recipe: Mapping[str, Json]) -> str:
    """The hub's front matter; values are JSON, which is YAML too."""
    base = published.adapter_for or _base(recipe)
    fields: dict[str, Json] = {
        "license": "apache-2.0" if run is not None and base is None else "other",
        "library_name": "peft" if published.adapter_for else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["thinkaloud", "reasoning"],
    }
    if base is not None and not Path(base).exists():
        fields["base_model"] = base.partition("@")[0]
    if run is not None and stage in run.evaluations:
        fields["model-index"] = [{"name": published.name, "results": _results(run, stage)}]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _results(run: Run, stage: str) -> list[Json]:
    measured = summarise(run)["models"][stage]["families"]
    return [
        {
            "task": {"type": "text-generation"},
            "dataset": {"name": f"{family}: sealed test of thinkaloud", "type": family},
            "metrics": [{"type": "accuracy", "value": one["accuracy"]}],
        }
        for family, one in measured.items()
        if one["accuracy"] is not None
    ]


def _title(published: Published) -> str:
    architecture = (published.config.get("architectures") or ["a decoder"])[0]
    size = f"{quantity(published.parameters)} parameters in {published.dtype}"
    what = f"`{architecture}`, {size}" if published.adapter_for is None else f"A low-rank adapter, {size}"
    context = published.config.get("max_position_embeddings")
    told = f", for sequences of up to {context:,} tokens" if context and published.adapter_for is None else ""
    return f"# {published.name}\n\n{what}{told}. It thinks aloud before it answers."


def _origin(stage: str, recipe: Mapping[str, Json]) -> str:
    base = _base(recipe)
    start = "fresh weights" if base is None else f"`{base}`"
    steps = [f"`{name}` ({KINDS[recipe['stages'][name]['kind']]})" for name in lineage(recipe, stage)]
    return f"It was trained with thinkaloud from {start}: {', then '.join(steps)}."


def _questions(run: Run, stage: str) -> dict[str, str]:
    """Of each family that the stage was measured on, one question."""
    evaluation = run.evaluations.get(stage)
    if evaluation is None:
        return {}
    asked = {family: evaluation.of(family)[0].question for family in evaluation.families()}
    return {family: question for family, question in asked.items() if question}


def _taught(asked: Mapping[str, str]) -> str:
    rows = [[family, question.replace("\n", " ")] for family, question in asked.items()]
    if not rows:
        return ""
    return (
        "## What it was taught\n"
        f"{table(['family', 'for example'], rows)}\n\n"
        "What it does with other questions was not measured."
    )


def _running(published: Published, question: str) -> str:
    name, said = json.dumps(published.name), json.dumps(question, ensure_ascii=False)
    opened = f"model = AutoModelForCausalLM.from_pretrained({name})"
    imports = "from transformers import AutoModelForCausalLM, AutoTokenizer"
    if published.adapter_for is not None:
        opened = f"model = AutoPeftModelForCausalLM.from_pretrained({name})"
        imports = "from peft import AutoPeftModelForCausalLM\nfrom transformers import AutoTokenizer"
        words = ["--model", published.adapter_for, "--adapter", published.name]
    else:
        words = ["--model", published.name]
    command = shlex.join(["thinkaloud", "ask", *words, question])
    return f"""## How to run it
`{published.name}` is this folder, or its name on the hub.

```sh
{command}
```

```python
{imports}

tokenizer = AutoTokenizer.from_pretrained({name})
{opened}
messages = [{{"role": "user", "content": {said}}}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(tokenizer.decode(model.generate(**prompt)[0]))
```"""


def _measured(run: Run, stage: str, recipe: Mapping[str, Json]) -> str:
    heading, *rows = summary_table(run)
    if not rows:
        return ""
    marked = [[f"**{name}**" if name == stage else name, *cells] for name, *cells in rows]
    settings = recipe.get("evaluation", {})
    how = f"replies a problem: {settings.get('samples', 1)}, at temperature {settings.get('temperature', 1.0)}"
    return (
        f"## How well it does\n{table(heading, marked)}\n\n"
        f"`{stage}` is this model, the others are stages of the same run, controls among them. Sealed test problems, "
        f"that no stage has seen; {how}; 95 % intervals over problems. One run can't say how much is luck of the seed."
    )


def _cost(run: Run, stages: Sequence[str]) -> str:
    names = [name for name in ordered(run.ledger) if name in stages]
    used = [key for key in COUNTERS if any(run.ledger[name].get(key) for name in names)]
    rows = [[name, *(quantity(run.ledger[name].get(key, 0.0)) for key in used)] for name in names]
    if not rows:
        return ""
    cells = table(["stage", *(COUNTERS[key] for key in used)], rows)
    note = "Compute: 6 FLOP per parameter and trained token, 2 per processed or generated token."
    return f"## What it cost\n{cells}\n\n{note}"


def _again(run: Run) -> str:
    versions, machine = run.environment.get("versions", {}), run.environment.get("machine", {})
    told = ", ".join(f"{name} {value}" for name, value in versions.items())
    where = ", ".join(str(value) for value in (machine.get("cpu"), f"{machine.get('cores', '?')} cores") if value)
    return f"""## How to make it again
Save the recipe as `recipe.toml`; with thinkaloud {versions.get("thinkaloud", "")}:

```sh
thinkaloud train recipe.toml
```

It was made with {told}; on {where}. Equal versions and threads give equal numbers on the same kind of machine.

<details><summary>recipe.toml</summary>

```toml
{run.recipe.strip()}
```

</details>"""


def _licence(recipe: Mapping[str, Json]) -> str:
    base = _base(recipe)
    if base is None:
        return "## Licence\nApache-2.0. Its problems were made by families that come with thinkaloud."
    return (
        f"## Licence\nThe weights derive from `{base}`, whose licence holds for them; the problems may have their own."
    )


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left, what stands in cells no markup of tables."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
