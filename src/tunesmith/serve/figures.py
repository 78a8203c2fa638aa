"""What Prometheus reads at /metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Figures:
    """Counts of one server, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "tunesmith_requests", "Requests answered.", ("path", "status"), registry=registry
        )
        self.prompt_tokens = Counter(
            "tunesmith_prompt_tokens", "Tokens of prompts.", registry=registry
        )
        self.completion_tokens = Counter(
            "tunesmith_completion_tokens", "Tokens of answers.", registry=registry
        )
        self.finished = Counter(
            "tunesmith_answers", "Answers by what ended them.", ("finish",), registry=registry
        )
        self.active = Gauge("tunesmith_answers_active", "Answers under way.", registry=registry)
        self.waiting = Gauge(
            "tunesmith_answers_waiting", "Answers that wait for a place.", registry=registry
        )
        self.first_token = Histogram(
            "tunesmith_first_token_seconds", "From request to first token.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.answer_seconds = Histogram(
            "tunesmith_answer_seconds", "From request to the end of its answer.",
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip

    def text(self, active: int, waiting: int) -> bytes:
        """In Prometheus' format, with the load of now."""
        self.active.set(active)
        self.waiting.set(waiting)
        return generate_latest(self._registry)
