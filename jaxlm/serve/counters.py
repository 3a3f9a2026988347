"""What a service counts for Prometheus, and its log: one JSON object a request, never its content."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from jaxlm.drift.distance import Drift, DriftVerdict
from jaxlm.serve.limits import App, Event, Receive, Scope, Send, request_id

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
ALARMS: dict[DriftVerdict, int] = {"few": -1, "same": 0, "moved": 1, "drift": 2}


class Counters:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter("jaxlm_requests", "Requests by route and status", ["route", "status"], registry=own)
        self.seconds = Histogram("jaxlm_request_seconds", "Time of a request", ["route"], buckets=SECONDS, registry=own)
        self.rows = Histogram("jaxlm_batch_rows", "Rows of a batch, no padding", ["model"], buckets=ROWS, registry=own)
        self.padding = Counter("jaxlm_padding_rows", "Rows of zeros that filled batches up", ["model"], registry=own)
        self.waiting = Gauge("jaxlm_waiting_rows", "Rows that wait", ["model"], registry=own)
        self.slots = Gauge("jaxlm_slots_used", "Texts that are being written", ["model"], registry=own)
        self.model = Gauge("jaxlm_model", "1 for a model that is served", ["model", "digest"], registry=own)
        self.answers = Counter("jaxlm_answers", "Answers of a model", ["model", "digest"], registry=own)
        shadow = ["model", "digest", "outcome"]
        self.shadowed = Counter("jaxlm_shadow_inputs", "Inputs that a shadow was asked", shadow, registry=own)
        self.shadow_seconds = Histogram(
            "jaxlm_shadow_seconds", "Time of a shadow", ["model"], buckets=SECONDS, registry=own
        )
        texts = {
            "values": "Values of a feature in the window",
            "psi": "Population stability index of a feature since the export",
            "ks": "Kolmogorov-Smirnov statistic of a feature since the export",
            "p": "p-value of a feature, of the same distribution as at the export",
            "alarm": "-1 too few values, 0 the same, 1 moved, 2 drift",
        }
        labels = ["model", "feature"]
        self._drift = {name: Gauge(f"jaxlm_drift_{name}", text, labels, registry=own) for name, text in texts.items()}

    def batch(self, model: str) -> Callable[[int, int], None]:
        """Return what a batcher calls with the rows of a batch and its size."""

        def seen(rows: int, size: int) -> None:
            self.rows.labels(model).observe(rows)
            self.padding.labels(model).inc(size - rows)

        return seen

    def drift(self, model: str, found: Sequence[Drift]) -> None:
        """Set what is known of the drift of a model."""
        for one in found:
            values = {"values": one.values, "psi": one.psi, "ks": one.ks, "p": one.p, "alarm": ALARMS[one.verdict]}
            for name, value in values.items():
                if value is not None:
                    self._drift[name].labels(model, one.feature).set(value)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class Observe:
    """Give every request an id, count it, and write a line about it.

    The id is in the scope's state as "id", in the header `X-Request-Id` of the answer, and in the log.
    """

    def __init__(self, app: App, counters: Counters, log: TextIO | None = sys.stderr):
        self._app, self._counters, self._log = app, counters, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, found = time.perf_counter(), {"status": 500}
        name = request_id(scope)
        scope.setdefault("state", {})["id"] = name

        async def noted(message: Event) -> None:
            if message["type"] == "http.response.start":
                found["status"] = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", name.encode())]}
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            self._counters.requests.labels(route, str(found["status"])).inc()
            self._counters.seconds.labels(route).observe(seconds)
            self._write(
                {
                    "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                    "id": name,
                    "method": scope["method"],
                    "route": route,
                    "status": found["status"],
                    "ms": round(1000 * seconds, 3),
                    **scope["state"].get("log", {}),
                }
            )

    def _write(self, line: dict[str, Any]) -> None:
        if self._log is not None:
            print(json.dumps(line), file=self._log, flush=True)
