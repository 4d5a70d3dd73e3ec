"""`thinkaloud eval`: a model, or a server, on sealed and published problems, with intervals."""

import hashlib
import re
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from thinkaloud.base.errors import UserError
from thinkaloud.cli.console import clean, err, resumable, say, say_json, say_table
from thinkaloud.cli.opening import open_model
from thinkaloud.cli.progress import Tally, watch
from thinkaloud.cli.talk import AdapterOption, CacheOption, ModelOption, QuantizeOption, chosen_model

if TYPE_CHECKING:
    from thinkaloud.inference import ReasoningModel
    from thinkaloud.problems.types import ProblemSet
    from thinkaloud.rollouts import Sampling
    from thinkaloud.rollouts.evaluate import Respondent
    from thinkaloud.rollouts.plan import Evaluation
    from thinkaloud.text import Tokenizer

FAMILY_TOKENS, FAMILY_TEMPERATURE = 96, 1.0
"How replies to our own families are drawn unless the command says otherwise: as a run's evaluation draws them."

Subject = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A run, a checkpoint's folder, a hub id, or a server: http://.../v1; the bundled model by default.",
    ),
]


def evaluate(
    model: Subject = None,
    model_option: ModelOption = None,
    on: Annotated[
        str | None, typer.Option(help="Published sets, families or files of your own, by commas: gsm8k,math500.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with the published sets; without it the hub's.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first problems of each set only.")] = None,
    family: Annotated[
        list[str] | None, typer.Option(help="A family, may be given again; by default all whose words the model knows.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Test problems of each family.")] = 200,
    samples: Annotated[int, typer.Option(min=1, help="Replies a problem; several add majority vote and pass@k.")] = 1,
    instruction: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="What follows each question of your own files; by default its verifier's wish."
        ),
    ] = None,
    budget: Annotated[int | None, typer.Option(min=0, help="Most tokens of the thought.")] = None,
    budgets: Annotated[
        str | None, typer.Option(help="Several of them, by commas; none is no limit: 64,256,none.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of a reply; 96 for families, else the model's own wish.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Of the replies; 1 for families, else the model's own wish.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same replies.")] = 1,
    thinking: Annotated[bool, typer.Option(help="Let it think aloud, or make it answer at once.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder of the evaluation; with --on one is chosen.")] = None,
    model_name: Annotated[str | None, typer.Option(help="The model's name at the server.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests to a server at a time.")] = 8,
    unsafe_exec: Annotated[
        bool, typer.Option("--unsafe-exec", help="Run programs WITHOUT isolation, with limits on resources only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no hub.")] = False,
    adapter: AdapterOption = None,
    quantize: QuantizeOption = None,
    cache: CacheOption = "auto",
) -> None:
    """Measure a model on sealed or published problems.

    Prints accuracy by set and level with 95 % intervals. With --on (or --out) every reply is kept in a folder, with a
    report; the same command again goes on where it was stopped. The key of a server is read from THINKALOUD_API_KEY
    or OPENAI_API_KEY.
    """
    from thinkaloud.problems.chosen import chosen, drawn
    from thinkaloud.rollouts import Sampling
    from thinkaloud.rollouts.plan import Evaluation, Plan

    if on is not None and family:
        raise UserError("--on and --family are both given: put the family into --on")
    if instruction is not None and on is None:
        raise UserError("--instruction is for files of your own, and none is named: give --on FILE, or leave it out")
    limits = _budgets(budget, budgets)
    sets: list[ProblemSet] = []
    if on is not None:
        sets = chosen(_split(on), data, limit=limit, count=count, instruction=instruction, offline=offline)
    named = chosen_model(model, model_option)
    wish = Sampling(thinking=thinking, samples=samples, max_tokens=FAMILY_TOKENS, temperature=FAMILY_TEMPERATURE)
    if named is not None and named.startswith(("http://", "https://")):
        if not sets:
            raise UserError("say what the server is asked, as in --on gsm8k --data FOLDER")
        from thinkaloud.serve.client import WISH, Server

        server = Server(named, model_name, concurrency=concurrency)
        name, weights = f"{server.model} at {server.url}", ""
        wish = _wished(wish, WISH, max_tokens, temperature)
        respondent: Respondent = server.asked(wish, seed=seed)
    else:
        from thinkaloud.rollouts import OwnModel

        opened = open_model(named, adapter=adapter, quantize=quantize, cache=cache, offline=offline)
        sets = sets or ([] if family else sealed_of(named, limit))
        wished = opened.defaults if sets else wish
        count = count if limit is None else min(count, limit)
        sets = sets or [drawn(one, count) for one in dict.fromkeys(family or known_families(opened.tokenizer))]
        name, weights = str(opened.path), fingerprint(opened, adapter, quantize, cache)
        wish = _wished(wish, wished, max_tokens, temperature)
        respondent = OwnModel(opened.engine, opened.template, wish, seed=seed)
    plan = Plan(model=name, weights=weights, sets=tuple(sets), sampling=wish, budgets=limits, seed=seed)
    folder = out if out is not None or on is None else Path("runs/eval") / slug(name, on)
    for one in sets if on is not None else ():
        words = f"{one.name}: {len(one.problems):,} problems from {one.source} ({one.licence})"
        err().print(Text(clean(words)), soft_wrap=True)
    with Evaluation(plan, folder) as evaluation, nullcontext() if folder is None else resumable():
        rows = evaluation.run(respondent, unsafe_exec=unsafe_exec)
        watch(rows, Tally(len(evaluation.tasks), evaluation.rows), err())
        _tell(evaluation, as_json)


def _tell(evaluation: "Evaluation", as_json: bool) -> None:
    """The table or the numbers, and where the rest is."""
    from thinkaloud.reports.evaluation import evaluation_table, summarise_evaluation, write_evaluation
    from thinkaloud.reports.load import evaluation_of

    plan = evaluation.plan
    graded = {
        budget: evaluation_of(plan.model, {"samples": plan.sampling.samples, "problems": evaluation.entries(budget)})
        for budget in plan.budgets
    }
    report = None if evaluation.folder is None else write_evaluation(evaluation.folder)
    if as_json:
        told = {str(budget): summarise_evaluation(one) for budget, one in graded.items()}
        one_budget = {"budget": plan.budgets[0], **told[str(plan.budgets[0])]}
        say_json(evaluation.settings | (one_budget if len(told) == 1 else {"by_budget": told}))
        return
    for budget, one in graded.items():
        how = f"temperature {plan.sampling.temperature:g}, seed {plan.seed}" + (
            f", thoughts of at most {budget} tokens" if budget is not None else ""
        )
        say(f"{plan.model} on {', '.join(one.name for one in plan.sets)} ({how})")
        say()
        say_table(evaluation_table(one))
    if report is not None:
        say()
        say(f"The whole of it: {report}")


def _wished(base: "Sampling", wish: object, max_tokens: int | None, temperature: float | None) -> "Sampling":
    """How replies are drawn: what the command says, else the model's own wish."""
    from dataclasses import replace

    names = ("max_tokens", "temperature", "top_p", "top_k", "min_p")
    values = {name: getattr(wish, name) for name in names}
    given = {"max_tokens": max_tokens, "temperature": temperature}
    return replace(base, **values | {name: value for name, value in given.items() if value is not None})


def _budgets(one: int | None, several: str | None) -> tuple[int | None, ...]:
    """The thinking budgets, each once."""
    if several is None:
        return (one,)
    if one is not None:
        raise UserError("--budget and --budgets are both given: put it into --budgets")
    words = _split(several)
    if not words or not all(word.isdecimal() or word == "none" for word in words):
        raise UserError(f"--budgets {several!r} is no list of numbers: write it as 64,256,1024")
    return tuple(dict.fromkeys(None if word == "none" else int(word) for word in words))


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def slug(*names: str) -> str:
    """Names as a folder's."""
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") for name in names)[-120:]


def fingerprint(opened: "ReasoningModel", *changes: str | None) -> str:
    """What differs as soon as a checkpoint does: a hash of its files' names, sizes and times."""
    files = sorted(path for path in opened.path.iterdir() if path.is_file())
    stats = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    return hashlib.sha256("\n".join([*stats, *map(str, changes)]).encode()).hexdigest()[:16]


def sealed_of(named: str | None, limit: int | None) -> list["ProblemSet"]:
    """The first test problems of a run that was trained on a user's own problems; none for any other model."""
    from thinkaloud.problems.types import ProblemSet
    from thinkaloud.train.brought import FILE, brought

    if named is None or not (Path(named) / FILE).exists():
        return []
    test = brought(Path(named), "test")[:limit]
    return [ProblemSet(name=test[0].family, problems=tuple(test), source=f"{named}, sealed test", licence="yours")]


def known_families(tokenizer: "Tokenizer") -> list[str]:
    """The families whose every word is one token, so that a model of ours has learnt them; all if there is none."""
    from thinkaloud.problems import FAMILIES

    known = [name for name, one in FAMILIES.items() if all(len(tokenizer.encode(word)) == 1 for word in one.words)]
    return known or list(FAMILIES)
