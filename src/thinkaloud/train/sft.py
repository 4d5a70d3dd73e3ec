"""Fine-tuning on demonstrations: the cold start, and the control that just goes on with it."""

from thinkaloud.base.errors import UserError
from thinkaloud.train.batches import Sample
from thinkaloud.train.data import demonstrations, families_of
from thinkaloud.train.stage import Stage
from thinkaloud.train.stages import SftSettings


def train_sft(stage: Stage) -> None:
    """Go through the demonstrations in ever new order until the budget is spent."""
    settings = stage.settings
    assert isinstance(settings, SftSettings)
    ways = {name: settings.ways.get(name, family.ways) for name, family in families_of(stage.recipe, settings).items()}
    samples = demonstrations(
        stage.problems, stage.template, ways, thinking=settings.thinking, seed=stage.recipe.run.seed
    )
    if not samples:
        raise UserError(
            "fine-tuning needs demonstrations, and your problems bring none: add a column `thinking` with a worked "
            "thought, or take stages of kind rl, which need none"
        )
    if settings.longest is not None:
        samples = [sample for sample in samples if sum(sample.mask) <= settings.longest]
        if not samples:
            raise UserError(
                f"stage {stage.name}: no demonstration has at most {settings.longest} tokens: raise longest"
            )
    stage.seen.update(problem.id for problem in stage.problems)
    stage.ledger.demonstrations = len(samples)
    stage.ledger.demonstration_tokens = sum(sum(sample.mask) for sample in samples)
    while not stage.finished:
        stage.end_step(fine_tune_step(stage, samples, "demonstrations"))


def fine_tune_step(stage: Stage, samples: list[Sample], salt: str) -> dict[str, float]:
    """One update on about `batch_tokens` tokens of `samples`, every learnt token weighing the same."""
    batch: list[Sample] = []
    while sum(len(sample.ids) for sample in batch) < stage.settings.batch_tokens:
        batch += [samples[index] for index in stage.order(8, salt, len(samples))]
    return stage.fit(batch, divisor=sum(sum(sample.mask) for sample in batch))
