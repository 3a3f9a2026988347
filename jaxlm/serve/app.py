"""The HTTP application of a service: routes, errors, and which model answers.

app = make_app([Path("artefact")])          # any ASGI server runs it
"""

import asyncio
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TextIO

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException

from jaxlm.errors import BadInput, join_reasons, one_line
from jaxlm.serve.batching import Busy
from jaxlm.serve.counters import Counters, Observe
from jaxlm.serve.feedback.routes import Keeper, feedback_routes
from jaxlm.serve.feedback.store import Store
from jaxlm.serve.limits import LimitBody, LimitRequests, RequireToken
from jaxlm.serve.messages import (
    ModelEntry,
    ModelList,
    PredictAnswer,
    PredictRequest,
    Refusal,
    ReloadAnswer,
    ReloadRequest,
)
from jaxlm.serve.model import Batching, Served, name_of, open_model
from jaxlm.serve.openai.embeddings import embedding_routes
from jaxlm.serve.openai.routes import openai_routes
from jaxlm.serve.operate.trial import Shadow, Trial, open_trial
from jaxlm.serve.shelf import NoModel, Shelf

PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "style-src-attr 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The body is not JSON of the right form"},
    401: {"model": Refusal, "description": "No token"},
    404: {"model": Refusal, "description": "No such model"},
    408: {"model": Refusal, "description": "The body did not come in time"},
    413: {"model": Refusal, "description": "The body is too large"},
    422: {"model": Refusal, "description": "An input or option cannot be used"},
    429: {"model": Refusal, "description": "Too much is waiting; Retry-After says when to come again"},
    503: {"model": Refusal, "description": "It took too long"},
}


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
        body: bytes.
        seconds: until a body must be there, and from then until a request is given up.
        requests: that may be under way.
    """

    body: int = 16_000_000
    seconds: float = 60.0
    requests: int = 64


def make_app(
    paths: Sequence[Path],
    *,
    batching: Batching | None = None,
    limits: Limits | None = None,
    tokens: Sequence[str] = (),
    store: Store | None = None,
    keep: bool = False,
    trial: Trial | None = None,
    log: TextIO | None = sys.stderr,
) -> Any:
    """Open models and return the ASGI application that serves them.

    Args:
        paths: of runs and artefacts; the name of a folder is that of its model.
        batching: how rows are put together.
        limits: of a request.
        tokens: one of which every request but GET /livez must have; none: all may ask.
        store: where feedback is kept; None: nowhere.
        keep: whether inputs and answers are kept there, too.
        trial: another model, which is asked beside the one model of the service.
        log: where a line about each request goes; None: nowhere.

    Raises:
        BadInput: a model cannot be opened, or two have one name.
    """
    limits, counters = limits or Limits(), Counters()

    def opened(path: Path) -> Served:
        return open_model(path, batching or Batching(), counters.batch(name_of(path)))

    shelf = Shelf(opened)
    for path in paths:
        shelf.add(path)
    for served in shelf.models():
        counters.model.labels(served.name, served.digest).set(1)
    shadow = None if trial is None else open_trial(trial, shelf, opened, counters, limits.seconds)
    app = _routes(shelf, limits, counters, store, Keeper(store if keep else None), shadow)
    limited = LimitRequests(LimitBody(app, limits.body, limits.seconds), limits.requests)
    return Observe(RequireToken(limited, tokens), counters, log)


def _routes(
    shelf: Shelf, limits: Limits, counters: Counters, store: Store | None, keeper: Keeper, shadow: Shadow | None
) -> FastAPI:
    app = FastAPI(title="jaxlm", version="1", responses=ERRORS, description="Models of jaxlm over HTTP.")
    _service_routes(app, shelf, counters)
    _model_routes(app, shelf, limits, counters, keeper, shadow)
    app.include_router(openai_routes(shelf, limits.seconds))
    app.include_router(embedding_routes(shelf, limits.seconds))
    app.include_router(feedback_routes(shelf, store))
    _pages(app)
    _errors(app)
    return app


def _service_routes(app: FastAPI, shelf: Shelf, counters: Counters) -> None:
    """Add the routes about the service itself."""

    @app.get("/livez", tags=["service"], response_class=PlainTextResponse, responses={})
    async def livez() -> str:
        """Say that the process runs; needs no token."""
        return "ok"

    @app.get("/readyz", tags=["service"], response_class=PlainTextResponse)
    async def readyz() -> str:
        """Say that every model is open and has answered its probes."""
        return "ok"

    @app.get("/metrics", tags=["service"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters for Prometheus."""
        for served in shelf.models():
            waiting = served.batcher.waiting
            if served.engine is not None:
                waiting += served.engine.waiting
                counters.slots.labels(served.name).set(served.engine.used)
            counters.waiting.labels(served.name).set(waiting)
            if served.watch is not None:
                counters.drift(served.name, await asyncio.to_thread(served.watch.report))
        return Response(counters.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.post("/admin/reload", tags=["service"])
    async def reload(asked: ReloadRequest) -> ReloadAnswer:
        """Open a model again from its folder, verify and probe it, and serve it in the place of the old one."""
        return await _swap(shelf, counters, asked, shelf.reload)

    @app.post("/admin/rollback", tags=["service"])
    async def rollback(asked: ReloadRequest) -> ReloadAnswer:
        """Serve again what was served before the last reload."""
        return await _swap(shelf, counters, asked, shelf.rollback)


def _model_routes(
    app: FastAPI, shelf: Shelf, limits: Limits, counters: Counters, keeper: Keeper, shadow: Shadow | None
) -> None:
    """Add the routes that list models and ask them."""

    @app.get("/v1/models", tags=["models"])
    async def models() -> ModelList:
        """List the models, each with an example of its inputs."""
        return ModelList(data=[_entry(served) for served in shelf.models()])

    @app.get("/v1/models/{name}", tags=["models"])
    async def model(name: str) -> ModelEntry:
        """Describe a model."""
        return _entry(shelf.find(name))

    @app.post("/v1/predict", tags=["models"])
    async def predict(asked: PredictRequest, request: Request) -> PredictAnswer:
        """Answer raw inputs of any task."""
        with shelf.using(asked.model, request.state.id) as served:
            request.state.log = {"model": served.name, "inputs": len(asked.inputs)}
            async with asyncio.timeout(limits.seconds):
                found = await served.answer(asked.inputs, asked.options)
            counters.answers.labels(served.name, served.digest).inc(len(found))
            if shadow is not None:
                shadow.ask(asked.inputs, asked.options, found)
            if not asked.skip_broken and (told := _broken(found)):
                raise BadInput(told)
            clean = [without_nan(one) for one in found]
            keeper.keep(request.state.id, served, asked.inputs, clean)
            answers = [{"error": str(one)} if isinstance(one, BadInput) else one for one in clean]
            return PredictAnswer(id=request.state.id, model=served.name, digest=served.digest, answers=answers)


def _pages(app: FastAPI) -> None:
    """Add the page to try models, which loads nothing from elsewhere."""
    folder = resources.files("jaxlm.serve").joinpath("pages")
    kinds = {"index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
    for name, kind in kinds.items():
        path = "/" if name == "index.html" else f"/{name}"
        app.add_route(path, _page(folder.joinpath(name).read_bytes(), kind), include_in_schema=False)


def _page(content: bytes, kind: str) -> Callable[[Request], Response]:
    return lambda request: Response(content, media_type=kind, headers=PAGE_HEADERS)


async def _swap(
    shelf: Shelf, counters: Counters, asked: ReloadRequest, change: Callable[[str], tuple[Served, Served]]
) -> ReloadAnswer:
    name = shelf.find(asked.model).name
    before, after = await asyncio.to_thread(change, name)
    counters.model.labels(name, before.digest).set(0)
    counters.model.labels(name, after.digest).set(1)
    return ReloadAnswer(model=name, digest=after.digest, before=before.digest)


def _entry(served: Served) -> ModelEntry:
    form = served.form
    return ModelEntry(
        id=served.name,
        created=served.created,
        digest=served.digest,
        kind=form.kind,
        columns=list(form.columns),
        options=without_nan(dict(form.options)),
        example=served.example,
        context=None if served.engine is None else served.engine.decoder.context,
    )


def _broken(answers: Sequence[Any]) -> str:
    """Return what is wrong with the inputs that could not be read, or nothing."""
    errors = [f"input {number}: {one}" for number, one in enumerate(answers) if isinstance(one, BadInput)]
    return join_reasons(errors)


def without_nan(value: Any) -> Any:
    """Return JSON with null in the place of numbers that are not without_nan, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _errors(app: FastAPI) -> None:
    """Turn errors into answers of one form."""

    def told(status: int, text: str, kind: str, headers: dict[str, str] | None = None) -> JSONResponse:
        error = {"message": text, "type": kind, "param": None, "code": None}
        return JSONResponse({"error": error}, status, headers)

    @app.exception_handler(BadInput)
    async def bad(request: Request, error: BadInput) -> JSONResponse:
        return told(422, str(error), "bad_input")

    @app.exception_handler(NoModel)
    async def unknown(request: Request, error: NoModel) -> JSONResponse:
        return told(404, str(error), "not_found")

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> JSONResponse:
        return told(429, str(error), "busy", {"Retry-After": str(math.ceil(error.seconds))})

    @app.exception_handler(TimeoutError)
    async def late(request: Request, error: TimeoutError) -> JSONResponse:
        return told(503, "the answer took too long: send less at a time, or raise --timeout", "timeout")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        reasons = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        return told(422, join_reasons(reasons, 10), "bad_request")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return told(error.status_code, str(error.detail), "refused", dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        print(f"request {request.state.id}: {one_line(error)}", file=sys.stderr, flush=True)
        return told(500, "an error of the service, which its log names", "internal")
