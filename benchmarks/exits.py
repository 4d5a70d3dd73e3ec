"""Early exit at a stated risk beside an oracle, DEER, Dynasor and plain budgets; and what votes and checks are worth.

Dev problems settle everything, sealed ones measure it: accuracy against the whole thought, tokens saved with the trial
answers paid, the share of the oracle's saving, and whether the risk was kept. All methods are run on the same replies
and the same trial answers, so that differences are paired. Traces are kept, and gone on with, under runs/.

    .venv/bin/thinkaloud train recipes/exits.toml
    .venv/bin/python benchmarks/exits.py
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinkaloud.base.conformal import calibration_error, least_cautious, looked_up
from thinkaloud.base.statistics import Estimate, bootstrap_mean, wilson_estimate
from thinkaloud.inference import load
from thinkaloud.inference.calibration import POOLED
from thinkaloud.problems import draw
from thinkaloud.rollouts import Sampling
from thinkaloud.rollouts.calibrate import How, Measurement, by_kind, right_under, vote_knots, voted_on
from thinkaloud.rollouts.exits import (
    Method,
    at_all_confidences,
    best_shape,
    by_agreement,
    by_budget,
    by_mean_confidence,
    by_rule,
    oracle,
    settle,
    shapes_for,
    whole,
)
from thinkaloud.rollouts.traces import Trace

DATA = Path(__file__).parents[1] / "docs" / "data" / "exits.json"
RISK = 0.01
SPLITS = 200
"Random splits of all problems on which everything is settled and measured anew."
MODELS = {
    "overthinker": ("runs/exits", {"chains": None, "pairs": [4, 5, 6]}),
    "demo": ("runs/demo", {"cups": None, "chains": None}),
}


def measured(name: str, path: str | None, families: dict[str, Any], settings: argparse.Namespace) -> Measurement:
    """The model's traces on dev and sealed problems."""
    opened = load(path)
    wish = opened.defaults
    sampling = Sampling(
        max_tokens=wish.max_tokens,
        temperature=wish.temperature,
        top_p=wish.top_p,
        top_k=wish.top_k,
        min_p=wish.min_p,
    )
    dev, sealed = (
        [one for family, levels in families.items() for one in draw(family, split, count, 0, levels)]
        for split, count in (("dev", settings.dev), ("test", settings.sealed))
    )
    how = How(sampling=sampling, votes=settings.votes)
    with Measurement(opened, dev, sealed, how, Path("runs/exits-bench") / f"{name}-{settings.seed}") as measurement:
        for _ in measurement.run():
            if measurement.done % 500 == 0:
                print(f"{name}: {measurement.done:,} of {measurement.total:,}", flush=True)
    return measurement


def budget_within(dev: Sequence[Trace], budgets: Sequence[int], risk: float) -> int | None:
    """The smallest budget that loses at most `risk` on dev problems, and all greater ones too."""
    found = None
    for budget in reversed(budgets):
        if np.mean([trace.right - right_under(trace, budget) for trace in dev]) > risk:
            break
        found = budget
    return found


def row(traces: Sequence[Trace], method: Method, best: float) -> dict[str, Any]:
    """What a way of stopping does to accuracy and tokens."""
    outcomes = [method(trace) for trace in traces]
    mean_tokens = float(np.mean([trace.tokens for trace in traces]))
    change = bootstrap_mean([int(one.right) - int(trace.right) for one, trace in zip(outcomes, traces, strict=True)])
    pairs = list(zip(outcomes, traces, strict=True))
    saved = bootstrap_mean([(trace.tokens - one.tokens) / mean_tokens for one, trace in pairs])
    read = float(np.mean([one.read_tokens for one in outcomes])) / mean_tokens
    lost = wilson_estimate(sum(one.lost(trace) for one, trace in pairs), len(traces))
    return {
        "accuracy": float(np.mean([one.right for one in outcomes])),
        "change": triple(change),
        "saved": triple(saved),
        "probes": float(np.mean([one.probe_tokens for one in outcomes])) / mean_tokens,
        "saved_if_reading_is_paid": saved.mean - read,
        "share_of_oracle": saved.mean / best if best > 0.005 else None,
        "lost": triple(lost),
    }


def triple(estimate: Estimate) -> list[float]:
    """Mean and interval."""
    return [estimate.mean, estimate.low, estimate.high]


def kept_on_average(traces: Sequence[Trace], risks: Sequence[float], calibration: int) -> dict[str, Any]:
    """The whole procedure on random splits of all traces: so many calibrate, half choosing and half certifying, and
    the rest say what was lost and saved. The guarantee is on the mean of the loss; how often a split is above the risk
    comes with it. A rule is run even where its saving is not certain."""
    tried = [(shape, *at_all_confidences(traces, shape)) for shape in shapes_for(traces[:calibration])]
    places = {shape: index for index, (shape, _, _) in enumerate(tried)}
    tokens_P = np.array([trace.tokens for trace in traces])
    random = np.random.default_rng(1)
    found: dict[float, list[list[float]]] = {risk: [] for risk in risks}
    for _ in range(SPLITS):
        order = random.permutation(len(traces))
        choosing, certifying = order[: calibration // 2], order[calibration // 2 : calibration]
        rest = order[calibration:]
        given = [(shape, losses_PL[choosing], taken_PL[choosing]) for shape, losses_PL, taken_PL in tried]
        for risk in risks:
            shape = best_shape(given, tokens_P[choosing].sum(), risk)
            lost, saved = 0.0, 0.0
            if shape is not None:
                _, losses_PL, taken_PL = tried[places[shape]]
                index = least_cautious(losses_PL[certifying], risk)
                if index is not None:
                    lost = float(losses_PL[rest, index].mean())
                    saved = 1 - float(taken_PL[rest, index].sum() / tokens_P[rest].sum())
            found[risk].append([lost, saved])
    means = {risk: np.array(rows) for risk, rows in found.items()}
    return {
        str(risk): {
            "splits": SPLITS,
            "mean": float(rows[:, 0].mean()),
            "above": float((rows[:, 0] > risk).mean()),
            "saved": float(rows[:, 1].mean()),
        }
        for risk, rows in means.items()
    }


def family_rows(dev: Sequence[Trace], sealed: Sequence[Trace], budgets: Sequence[int]) -> dict[str, Any]:
    """All methods on one family."""
    rules = {rule.risk: rule for rule in settle(dev)}
    budget = budget_within(dev, budgets, RISK)
    methods: dict[str, Method] = {"whole thought": whole, "oracle": oracle}
    methods |= {f"ours, risk {100 * risk:g} %": by_rule(rule) for risk, rule in rules.items()}
    methods["DEER, 0.95"] = by_mean_confidence()
    methods["Dynasor, 3 equal, every 32"] = by_agreement()
    methods["Dynasor, 3 equal, every line"] = by_agreement(gap=1)
    methods[f"budget of {budget}"] = whole if budget is None else by_budget(budget)
    best = row(sealed, oracle, 0.0)["saved"][0]
    return {
        "problems": {"dev": len(dev), "sealed": len(sealed)},
        "tokens": float(np.mean([trace.tokens for trace in sealed])),
        "rules": [rule.model_dump(mode="json") for rule in rules.values()],
        "methods": {name: row(sealed, method, best) for name, method in methods.items()},
        "splits": kept_on_average([*dev, *sealed], list(rules), len(dev)),
    }


def votes_rows(dev: Sequence[Trace], sealed: Sequence[Trace]) -> dict[str, Any]:
    """Votes, exact checks with early stop, and whether confidences are true."""
    knots, most = vote_knots(dev), min(len(trace.votes) for trace in sealed)
    found: dict[str, Any] = {}
    for count in sorted(knots):
        if count > most:
            continue
        voted = [voted_on(trace.votes[:count]) for trace in sealed]
        right = [is_right for _, is_right in voted]
        said = [looked_up(knots[count], share) for share, _ in voted]
        firsts = [next((i + 1 for i, (_, ok) in enumerate(t.votes[:count]) if ok), None) for t in sealed]
        found[str(count)] = {
            "vote": triple(wilson_estimate(sum(right), len(right))),
            "checked": triple(wilson_estimate(sum(one is not None for one in firsts), len(firsts))),
            "drawn": float(np.mean([one or count for one in firsts])),
            "calibration_error": calibration_error(said, right),
            "calibration_error_of_shares": calibration_error([share for share, _ in voted], right),
            "abstained_below_0.9": float(np.mean([one < 0.9 for one in said])),
            "right_where_not": float(np.mean([ok for one, ok in zip(said, right, strict=True) if one >= 0.9] or [0.0])),
        }
    return found


def show(name: str, family: str, found: dict[str, Any], tell: Callable[[str], None] = print) -> None:
    """One family's table."""
    tell(f"\n{name}, {family}: {found['problems']['sealed']:,} sealed problems, {found['tokens']:.1f} tokens a reply")
    tell("| way of stopping | accuracy % | change, points | tokens saved % | of the oracle's % | lost % |")
    tell("|---|---:|---:|---:|---:|---:|")
    for method, one in found["methods"].items():
        change, saved, lost = ([f"{100 * x:+.1f}" for x in one[key]] for key in ("change", "saved", "lost"))
        share = "" if one["share_of_oracle"] is None else f"{100 * one['share_of_oracle']:.0f}"
        spread = f"{change[0]} ({change[1]} to {change[2]})"
        net = f"{saved[0]} ({saved[1]} to {saved[2]})"
        high = f"{lost[0][1:]} ({lost[1][1:]} to {lost[2][1:]})"
        tell(f"| {method} | {100 * one['accuracy']:.1f} | {spread} | {net} | {share} | {high} |")
    for risk, one in found["splits"].items():
        words = f"mean loss {100 * one['mean']:.2f} %, above it in {100 * one['above']:.0f} %"
        tell(
            f"risk {100 * float(risk):g} % on {one['splits']} random splits: {words}, saved {100 * one['saved']:.1f} %"
        )


def main() -> None:
    """Measure, print the tables, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="some of them, by commas")
    parser.add_argument("--run", help="another run of the recipe in place of runs/exits")
    parser.add_argument("--seed", type=int, default=1, help="the run's seed, for the name only")
    parser.add_argument("--dev", type=int, default=600, help="dev problems of each family")
    parser.add_argument("--sealed", type=int, default=1000, help="sealed problems of each family")
    parser.add_argument("--votes", type=int, default=4, help="replies a vote")
    parser.add_argument("--out", type=Path, default=DATA)
    settings = parser.parse_args()
    for name in settings.models.split(","):
        path, families = MODELS[name]
        measurement = measured(name, settings.run or path if name == "overthinker" else path, families, settings)
        dev, sealed = by_kind(measurement.traces("dev")), by_kind(measurement.traces("sealed"))
        found: dict[str, Any] = {}
        for family in dev:
            found[family] = family_rows(dev[family], sealed[family], measurement.budgets)
            found[family]["votes"] = votes_rows(dev[family], sealed[family])
            show(name, "all together, one rule" if family == POOLED else family, found[family])
            print(json.dumps(found[family]["votes"]))
        kept = json.loads(settings.out.read_text()) if settings.out.exists() else {}
        kept[f"{name}-{settings.seed}"] = found
        settings.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
