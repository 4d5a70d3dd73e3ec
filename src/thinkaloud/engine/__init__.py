"""Requests of ids in, completions of ids out: scheduling, the KV cache, sampling, a thinking policy run as data.

Knows neither what a token means nor what a problem is.
"""

from thinkaloud.engine.choose import can_quantise
from thinkaloud.engine.engine import Engine, Progress
from thinkaloud.engine.types import Completion, Grammar, Request

__all__ = ["Completion", "Engine", "Grammar", "Progress", "Request", "can_quantise"]
