"""What a server counts, for Prometheus. Knows names of measures; doesn't know: who is served."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from thinkaloud.inference import Reply

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Measures:
    """One server's counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "thinkaloud_requests", "Requests answered.", ("endpoint", "status"), registry=self.registry
        )
        self.tokens = Counter("thinkaloud_tokens", "Tokens by kind.", ("kind",), registry=self.registry)
        self.replies = Counter("thinkaloud_replies", "Replies by their end.", ("finish",), registry=self.registry)
        self.first = Histogram(
            "thinkaloud_time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.whole = Histogram(
            "thinkaloud_request_seconds",
            "From a request's arrival to its end.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.waiting = Gauge("thinkaloud_queue", "Replies that wait for a row.", registry=self.registry)
        self.running = Gauge("thinkaloud_rows", "Replies under way.", registry=self.registry)

    def count(self, reply: Reply) -> None:
        """A reply has ended."""
        usage = reply.usage
        self.replies.labels(reply.finish).inc()
        self.tokens.labels("prompt").inc(usage.prompt_tokens)
        for kind, count in usage_details(reply).items():
            self.tokens.labels(kind.removesuffix("_tokens")).inc(count)

    def text(self) -> bytes:
        """Prometheus's text."""
        return generate_latest(self.registry)


def usage_details(reply: Reply) -> dict[str, int]:
    """Tokens after the prompt by kind: together they are completion_tokens."""
    usage = reply.usage
    return {
        "reasoning_tokens": usage.thinking_tokens,
        "answer_tokens": usage.answer_tokens,
        "forced_tokens": usage.forced_tokens,
        "probe_tokens": usage.probe_tokens,
        "discarded_tokens": usage.discarded_tokens,
    }
