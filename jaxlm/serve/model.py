"""One model of a service: opened, checked, compiled, and asked by coroutines."""

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.export.artefact import TOLERANCE, is_artefact, open_artefact, to_wire
from jaxlm.export.probes import probe_inputs
from jaxlm.export.write import check_probes
from jaxlm.hub.pretrained import leaves_by_path
from jaxlm.predict.load import LoadedModel, load_run
from jaxlm.predict.predictor import Answer, Predictor, stack_rows
from jaxlm.serve.batching import Batcher
from jaxlm.serve.engine import Engine
from jaxlm.serve.form import Form, form_of
from jaxlm.serve.operate.watch import Watch

MOST = 1 << 31  # bytes of the rows of a request: a body may hold many recordings that pack well
QUICK = 5e-4  # seconds; about what it costs to have another thread do it


@dataclass(frozen=True)
class Batching:
    """How rows are put together, see `Batcher`.

    Attributes:
        largest: rows of a batch at most; None: those of the evaluation, at most 64.
        fixed: whether answers never depend on who shares a batch.
        wait: seconds.
        room: rows that may wait.
        slots: texts that are written together.
    """

    largest: int | None = None
    fixed: bool = False
    wait: float = 0.0
    room: int = 256
    slots: int = 16


@dataclass(frozen=True)
class Served:
    """A model that answers.

    Attributes:
        name: in requests.
        path: where it came from.
        digest: SHA-256 that stands for its weights and programs.
        form: how it is asked.
        example: an input that it can read, as JSON.
        predictor: of the model.
        batcher: of its rows.
        engine: of a model that writes texts; None: it does not.
        pool: of threads for its host halves.
        quick: whether what stands before, and behind the model, takes less time than a thread would cost.
        watch: compares what it is asked with the inputs of its export; None: they are not known.
        created: Unix time at which it was opened.
    """

    name: str
    path: Path
    digest: str
    form: Form
    example: Any
    predictor: Predictor
    batcher: Batcher
    engine: Engine | None
    pool: ThreadPoolExecutor
    quick: tuple[bool, bool] = (False, False)
    watch: Watch | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    async def answer(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> list[Answer | BadInput]:
        """Answer the JSON of raw inputs, in order; what cannot be read has its error as the answer.

        Raises:
            BadInput: no such option.
            Busy: too much is waiting.
        """
        predictor, one = self.form.choose(self.predictor, options), len(inputs) == 1
        prepared = await self._call(self.quick[0] and one, self._prepare, predictor, inputs)
        rows = [row for found in prepared if not isinstance(found, BadInput) for row in found.rows]
        futures = self.batcher.submit(rows)
        try:
            outputs = iter([await future for future in futures])
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        answers = await self._call(self.quick[1] and one, self._finish, predictor, prepared, outputs)
        if self.watch is not None:
            self.watch.see(prepared, answers)
        return answers

    async def _call(self, here: bool, function: Callable[..., list[Any]], *args: Any) -> list[Any]:
        if here:
            return function(*args)
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *args)

    def _prepare(self, predictor: Predictor, inputs: Sequence[Any]) -> list[Any]:
        read = self.form.read(inputs)
        prepared = predictor.preprocess([value for value in read if not isinstance(value, BadInput)])
        found, size = [], 0
        for number, value in enumerate(read):
            found.append(value if isinstance(value, BadInput) else next(prepared))
            if not isinstance(found[-1], BadInput):
                size += sum(np.asarray(x).nbytes for row in found[-1].rows for x in row.values())
            if size > MOST:
                raise BadInput(f"inputs 0 to {number} take more than {MOST:,} bytes once read: send fewer at a time")
        return found

    @staticmethod
    def _finish(predictor: Predictor, prepared: Sequence[Any], outputs: Any) -> list[Answer | BadInput]:
        answers: list[Answer | BadInput] = []
        for one in prepared:
            if isinstance(one, BadInput):
                answers.append(one)
                continue
            mine = [next(outputs) for _ in one.rows]
            try:
                answers.append(predictor.postprocess(mine, one.context))
            except BadInput as error:
                answers.append(error)
        return answers

    def close(self) -> None:
        """Answer what is waiting and end its threads."""
        self.batcher.close()
        if self.engine is not None:
            self.engine.close()
        if self.watch is not None:
            self.watch.close()
        self.pool.shutdown(wait=True)


def open_model(path: Path, batching: Batching, seen: Callable[[int, int], None]) -> Served:
    """Open a run or an artefact, ask it its probes, and compile what it will be asked for.

    Args:
        path: of its folder.
        batching: how rows are put together.
        seen: see `Batcher`.

    Raises:
        BadInput: it cannot be read, is damaged, or does not give the answers that it was exported with.
    """
    reference = {}
    if is_artefact(path):
        artefact = open_artefact(path)
        model, digest, reference = artefact.load(), artefact.digest, artefact.reference()
        inputs, answers = map(list, zip(*artefact.probes(), strict=True))
        check_probes(model, inputs, answers, TOLERANCE)
    else:
        model = load_run(path)
        digest, inputs = digest_of(model), probe_inputs(model.predictor, 1)
        model(inputs)
    batcher = Batcher(
        model.predictor,
        model.variables,
        largest=batching.largest,
        fixed=batching.fixed,
        wait=batching.wait,
        room=batching.room,
        seen=seen,
    )
    batcher.start(model.predictor.examples)
    form, engine = form_of(model.predictor), None
    if model.predictor.decoder is not None:
        sizes = {"slots": batching.slots, "room": batching.room}
        engine = Engine(model.predictor.decoder, model.variables, fixed=batching.fixed, **sizes)
        engine.start()
    pool = ThreadPoolExecutor(4, thread_name_prefix=path.name)
    quick = quick_halves(model, inputs[0])
    watch = Watch(model.predictor.preprocess, reference) if reference else None
    given, predictor = to_wire(inputs[0]), model.predictor
    return Served(name_of(path), path, digest, form, given, predictor, batcher, engine, pool, quick, watch)


def name_of(path: Path) -> str:
    """Return the name of a model: that of its folder, or of the link that stands for it."""
    return Path(os.path.abspath(path)).name


def quick_halves(model: LoadedModel, given: Any) -> tuple[bool, bool]:
    """Return whether the halves before and behind a model take less than `QUICK` seconds on an input."""
    predictor = model.predictor
    (prepared,) = predictor.preprocess([given])
    if isinstance(prepared, BadInput) or not prepared.rows:
        return False, False
    batch = stack_rows(prepared.rows[:1], 1)
    outputs = jax.device_get(jax.jit(predictor.apply)(model.variables, batch))
    rows = [{name: x[0] for name, x in outputs.items()}] * len(prepared.rows)
    calls = (lambda: list(predictor.preprocess([given])), lambda: predictor.postprocess(rows, prepared.context))
    return tuple(_seconds(call) < QUICK for call in calls)  # type: ignore[return-value]


def _seconds(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def digest_of(model: LoadedModel) -> str:
    """Return a SHA-256 over the weights of a model."""
    found = hashlib.sha256()
    for name, leaf in leaves_by_path(model.variables).items():
        x = np.asarray(leaf)
        found.update(json.dumps([name, str(x.dtype), x.shape]).encode())
        found.update(x.tobytes())
    return found.hexdigest()
