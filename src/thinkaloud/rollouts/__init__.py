"""A model tries, a verifier judges: rollouts for training and evaluation. Knows no gradients and no HTTP."""

from thinkaloud.rollouts.collect import Ask, Rollout, Sampling, attempt, collect
from thinkaloud.rollouts.evaluate import OwnModel, Said, Task, evaluate, judged

__all__ = ["Ask", "OwnModel", "Rollout", "Said", "Sampling", "Task", "attempt", "collect", "evaluate", "judged"]
