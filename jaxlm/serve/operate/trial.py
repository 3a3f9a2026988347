"""A second model beside the one that is served: asked the same in secret (shadow), or answering some (canary)."""

import asyncio
import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.export.artefact import TOLERANCE, answers_differ
from jaxlm.predict.predictor import Answer
from jaxlm.serve.batching import Busy
from jaxlm.serve.counters import Counters
from jaxlm.serve.model import Served
from jaxlm.serve.shelf import Shelf

MOST = 16  # requests of a shadow under way; more are left out, so that it never piles up


@dataclass(frozen=True)
class Trial:
    """The shadow or canary of the one model of a service.

    Attributes:
        shadow: folder of a model that is asked copies of the requests, and whose answers are only compared; None: none.
        canary: folder of a model that answers some of the requests; None: none.
        share: of the requests that the canary answers.
    """

    shadow: Path | None = None
    canary: Path | None = None
    share: float = 0.1


class Shadow:
    """Asks a second model what the first one was asked, after it has answered, and counts whether they agree.

    Args:
        served: the second model, with the name of the first.
        counters: of the service.
        seconds: until a copy is given up.
    """

    def __init__(self, served: Served, counters: Counters, seconds: float):
        self._served, self._counters, self._seconds = served, counters, seconds
        self._tasks: set[asyncio.Task] = set()

    def ask(self, inputs: Sequence[Any], options: Mapping[str, Any], answers: Sequence[Answer | BadInput]) -> None:
        """Begin to ask a copy of a request that was answered; its caller does not wait."""
        if len(self._tasks) >= MOST:
            self._count("left out", len(inputs))
            return
        task = asyncio.create_task(self._compare(inputs, options, answers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(
        self, inputs: Sequence[Any], options: Mapping[str, Any], answers: Sequence[Answer | BadInput]
    ) -> None:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._seconds):
                found = await self._served.answer(inputs, options)
        except (BadInput, Busy, TimeoutError):
            self._count("failed", len(inputs))
            return
        self._counters.shadow_seconds.labels(self._served.name).observe(time.perf_counter() - began)
        same = sum(agree(one, other) for one, other in zip(found, answers, strict=True))
        self._count("agrees", same)
        self._count("differs", len(inputs) - same)

    def _count(self, outcome: str, inputs: int) -> None:
        self._counters.shadowed.labels(self._served.name, self._served.digest, outcome).inc(inputs)


def agree(one: Answer | BadInput, other: Answer | BadInput) -> bool:
    """Return whether two answers are the same: their classes, where they have some, or all of them to rounding."""
    if isinstance(one, BadInput) or isinstance(other, BadInput):
        return isinstance(one, BadInput) and isinstance(other, BadInput)
    if "label" in one and "label" in other:
        return one["label"] == other["label"]
    return answers_differ(one, other, TOLERANCE) is None


def is_chosen(request: str, share: float) -> bool:
    """Return whether a canary answers a request: a function of its id, true for a share of them."""
    return int.from_bytes(hashlib.sha256(request.encode()).digest()[:8]) < share * 2**64


def open_trial(
    trial: Trial, shelf: Shelf, open_path: Callable[[Path], Served], counters: Counters, seconds: float
) -> Shadow | None:
    """Open the shadow or canary of the one model of a shelf; a canary is put there, and a shadow is returned.

    Raises:
        BadInput: there are several models, or another one is asked in another way.
    """
    if len(shelf.models()) != 1:
        raise BadInput("a shadow or canary is compared with one model, and there are several: serve that one alone")
    (first,) = shelf.models()

    def opened(path: Path) -> Served:
        found = open_path(path)
        if found.form.kind != first.form.kind:
            raise BadInput(f"{path} reads a {found.form.kind}, and {first.path} a {first.form.kind}: give one like it")
        counters.model.labels(first.name, found.digest).set(1)
        return dataclasses.replace(found, name=first.name)

    if trial.canary is not None:
        if not 0 < trial.share < 1:
            raise BadInput(f"--share is {trial.share}: it must be above 0 and below 1")
        shelf.put_canary(opened(trial.canary), lambda request: is_chosen(request, trial.share))
    return None if trial.shadow is None else Shadow(opened(trial.shadow), counters, seconds)
