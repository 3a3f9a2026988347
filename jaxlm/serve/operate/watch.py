"""Drift of a model that is served: its newest inputs and answers beside those that it was exported with."""

import contextlib
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from jaxlm.drift.distance import Drift, report
from jaxlm.drift.features import features_of
from jaxlm.drift.sketch import Sketch, Value
from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Answer, Prepared

WINDOW = 1000  # inputs
PAUSE = 0.5  # seconds
PENDING = 100  # inputs that are looked at in each pause at most, so that a busy service spends no more time on it


class Watch:
    """Compares the last inputs of a model with a reference, in a thread of its own.

    Args:
        preprocess: of its predictor.
        reference: sketches of an artefact.
        window: inputs that are compared.
    """

    def __init__(self, preprocess: Any, reference: Mapping[str, Sketch], window: int = WINDOW):
        self._preprocess, self._reference = preprocess, reference
        self._new: deque[tuple[Prepared | BadInput, Answer | BadInput]] = deque(maxlen=PENDING)
        self._seen: deque[Mapping[str, Value]] = deque(maxlen=window)
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def see(self, prepared: Sequence[Prepared | BadInput], answers: Sequence[Answer | BadInput]) -> None:
        """Note inputs with their answers; costs their caller an append."""
        self._new.extend(zip(prepared, answers, strict=True))

    def report(self) -> list[Drift]:
        """Return how each feature of the window differs from the reference."""
        self._take()
        with self._lock:
            seen = list(self._seen)
        window = {name: one.of(row[name] for row in seen if name in row) for name, one in self._reference.items()}
        return report(self._reference, window)

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(PAUSE):
            self._take()

    def _take(self) -> None:
        with self._lock:
            while self._new:
                prepared, answer = self._new.popleft()
                if isinstance(prepared, BadInput) or isinstance(answer, BadInput) or not prepared.rows:
                    continue
                with contextlib.suppress(Exception):  # what has no features must not end the thread, or /metrics
                    self._seen.append(features_of(self._preprocess, prepared.rows, answer))
