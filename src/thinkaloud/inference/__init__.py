"""A checkpoint ready to use: its template, its engine, its thinking. Knows no problems."""

from thinkaloud.inference.loading import load
from thinkaloud.inference.model import ReasoningModel
from thinkaloud.inference.replies import Reply, ReplyStream, Usage

__all__ = ["ReasoningModel", "Reply", "ReplyStream", "Usage", "load"]
