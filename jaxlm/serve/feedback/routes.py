"""Routes by which a service listens: feedback to its answers, and forgetting a request."""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from jaxlm.errors import BadInput, one_line
from jaxlm.serve.feedback.inputs import read_input
from jaxlm.serve.feedback.store import FEEDBACK, PREDICTIONS, Store
from jaxlm.serve.messages import FeedbackAnswer, FeedbackRequest
from jaxlm.serve.model import Served
from jaxlm.serve.shelf import Shelf


def feedback_routes(shelf: Shelf, store: Store | None) -> APIRouter:
    """Return the routes of feedback; without a store they say that there is none."""
    routes = APIRouter(prefix="/v1", tags=["feedback"])

    def opened() -> Store:
        if store is None:
            raise HTTPException(404, "feedback is not kept here: start the service with --feedback FILE")
        return store

    @routes.post("/feedback")
    async def feedback(told: FeedbackRequest) -> FeedbackAnswer:
        """Keep feedback to an answer; it is on disk when this returns."""
        kept = opened()
        if told.label is None and told.correction is None and told.rating is None:
            raise BadInput("no label, correction or rating: give one")
        found = await asyncio.to_thread(kept.prediction, told.id, told.index)
        if found is None:
            served = shelf.find(told.model)
            found = {"model": served.name, "digest": served.digest, "kind": served.form.kind}
        if told.input is not None:
            read_input(found["kind"], told.input)
        texts = {name: _json(value) for name, value in (("input", told.input), ("correction", told.correction))}
        row = {"request": told.id, "place": told.index, "time": time.time(), **found, **texts}
        await kept.add(FEEDBACK, [row | {"label": told.label, "rating": told.rating}])
        return FeedbackAnswer(id=told.id)

    @routes.delete("/predictions/{name}")
    async def forget(name: str) -> FeedbackAnswer:
        """Delete what is kept of a request: its predictions and its feedback."""
        await opened().forget(name[:64])
        return FeedbackAnswer(id=name[:64], kept=False)

    return routes


class Keeper:
    """Keeps predictions without having their callers wait.

    Args:
        store: where; None: nowhere.
    """

    def __init__(self, store: Store | None):
        self._store = store
        self._tasks: set[asyncio.Task] = set()

    def keep(self, request: str, served: Served, inputs: Sequence[Any], answers: Sequence[Any]) -> None:
        """Begin to write the inputs of a request that were answered; a `BadInput` among the answers is a refusal."""
        pairs = [pair for pair in enumerate(zip(inputs, answers, strict=True)) if not isinstance(pair[1][1], BadInput)]
        if self._store is None or not pairs:
            return
        about = {"request": request, "time": time.time(), "model": served.name}
        about |= {"digest": served.digest, "kind": served.form.kind}
        rows = [about | {"place": n, "input": json.dumps(one), "answer": json.dumps(two)} for n, (one, two) in pairs]
        task = asyncio.create_task(self._write(rows))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, rows: Sequence[dict[str, Any]]) -> None:
        try:
            await self._store.add(PREDICTIONS, rows)  # type: ignore[union-attr]
        except BadInput as error:  # such as an id that was used before
            print(f"request {rows[0]['request']} is not kept: {one_line(error)}", file=sys.stderr, flush=True)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value)
