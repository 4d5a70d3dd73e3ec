"""A checkpoint ready to use: its template, its engine, its thinking. Knows no problems."""

from thinkaloud.inference.model import ReasoningModel, Reply, Usage, load

__all__ = ["ReasoningModel", "Reply", "Usage", "load"]
