"""The pure function of a predictor as StableHLO, for any batch size where the model allows."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import export

from jaxlm.data.protocol import Batch
from jaxlm.decode.slots import Draw, SlotDecoder
from jaxlm.errors import BadInput, one_line
from jaxlm.predict.predictor import Predictor

PLATFORMS = ("cpu", "cuda", "tpu")
BATCH = "b"  # the symbol of a batch of any size
LONGEST = 1 << 20  # of a free length, so that a product of two fits into an int32


@dataclass(frozen=True)
class Program:
    """What a program takes, beside the variables.

    Attributes:
        file: of the artefact.
        platforms: that it runs on.
        dtypes: of the arrays of a batch, by name.
        shapes: of a row of each, as "64, 64, 3" or with free lengths as "p".
        batch: the only number of rows that it takes; None: any.
    """

    file: str
    platforms: tuple[str, ...]
    dtypes: Mapping[str, str]
    shapes: Mapping[str, str]
    batch: int | None

    def fits(self, batch: Mapping[str, Any]) -> bool:
        """Return whether the program takes the rows of a batch, whatever their number."""
        return batch.keys() == self.shapes.keys() and all(
            _fits(self.shapes[name], x.shape[1:]) and str(x.dtype) == self.dtypes[name] for name, x in batch.items()
        )

    def example(self, rows: int) -> dict[str, np.ndarray] | None:
        """Return a batch of zeros that the program takes, or None where it takes rows of several shapes."""
        if not all(re.fullmatch(r"[\d, ]*", shape) for shape in self.shapes.values()):
            return None
        sizes = {name: [int(size) for size in re.findall(r"\d+", shape)] for name, shape in self.shapes.items()}
        return {name: np.zeros((rows, *dims), self.dtypes[name]) for name, dims in sizes.items()}


def _fits(shape: str, sizes: Sequence[int]) -> bool:
    dims = [dim.strip() for dim in shape.split(",") if dim.strip()]
    return len(dims) == len(sizes) and all(_is_of(dim, size) for dim, size in zip(dims, sizes, strict=True))


def _is_of(dim: str, size: int) -> bool:
    """Return whether a size is one of "64", of the free length "p", or of "400*k", a multiple."""
    factor = re.match(r"\d+", dim)
    return size % int(factor[0]) == 0 if factor and factor[0] != dim else size == int(dim) if factor else True


def export_programs(predictor: Predictor, variables: Any) -> Iterator[tuple[Program, bytes, str | None]]:
    """Lower a predictor's function for each shape of its examples, or once where lengths are free.

    Yields:
        A program, its bytes, and why it takes one batch size or runs on this platform alone, or None.

    Raises:
        BadInput: it cannot be lowered at all.
    """
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    examples = predictor.examples[-1:] if predictor.shapes else predictor.examples
    for number, example in enumerate(examples):
        shapes = {name: ", ".join(map(str, x.shape[1:])) for name, x in example.items()} | dict(predictor.shapes)
        dtypes = {name: str(x.dtype) for name, x in example.items()}
        exported, batch, reason = _export(predictor, spec, shapes, dtypes)
        program = Program(f"program-{number}.stablehlo", exported.platforms, dtypes, shapes, batch)
        yield program, bytes(exported.serialize()), reason


def _export(
    predictor: Predictor, spec: Any, shapes: Mapping[str, str], dtypes: Mapping[str, str]
) -> tuple[export.Exported, int | None, str | None]:
    """Lower for any batch size on all platforms, or for what is possible."""
    here = (export.default_export_platform(),)
    attempts = [(None, PLATFORMS), (predictor.batch, PLATFORMS), (predictor.batch, here)]
    reason = None
    for batch, platforms in attempts:
        try:
            rows = _specs(shapes, dtypes, BATCH if batch is None else str(batch), predictor.limits)
            lowered = export.export(jax.jit(predictor.apply), platforms=platforms)(spec, rows)
            return lowered, batch, reason
        except BadInput:
            raise
        except Exception as error:  # each of jax's ways to say that a function needs sizes that are known
            reason = one_line(error)
    raise BadInput(f"the model cannot be lowered ({reason}): export it with --to hf")


def _specs(shapes: Mapping[str, str], dtypes: Mapping[str, str], batch: str, limits: Sequence[str]) -> Any:
    scope = export.SymbolicScope(limits)

    def spec(name: str, dims: str) -> jax.ShapeDtypeStruct:
        whole = export.symbolic_shape(f"{batch}, {dims}" if dims else f"{batch},", scope=scope)
        return jax.ShapeDtypeStruct(whole, np.dtype(dtypes[name]))

    return {name: spec(name, dims) for name, dims in shapes.items()}


def apply_of(programs: Sequence[tuple[Program, export.Exported]]) -> Callable[[Any, Batch], Any]:
    """Return the function (variables, batch) -> arrays that calls the program of the batch's shapes; can be compiled.

    A batch of fewer rows than a program of one size takes is filled up with rows of zeros, which are cut off again.
    """

    def apply(variables: Any, batch: Batch) -> Any:
        found = next(((program, exported) for program, exported in programs if program.fits(batch)), None)
        if found is None:
            given = ", ".join(f"{name} {x.dtype}{list(x.shape[1:])}" for name, x in batch.items())
            known = "; ".join(", ".join(f"{n} [{dims}]" for n, dims in one.shapes.items()) for one, _ in programs)
            raise BadInput(f"a row of {given} has no program here: the shapes are {known}: give a shorter input")
        program, exported = found
        rows = next(iter(batch.values())).shape[0]
        if program.batch is None or rows == program.batch:
            return exported.call(variables, dict(batch))
        if rows > program.batch:
            raise BadInput(f"a batch of {rows}, and the program takes {program.batch}: give batch={program.batch}")
        room = program.batch - rows
        filled = {name: jax.numpy.pad(x, [(0, room)] + [(0, 0)] * (x.ndim - 1)) for name, x in batch.items()}
        return jax.tree.map(lambda x: x[:rows], exported.call(variables, filled))

    return apply


@dataclass(frozen=True)
class ExportedSlots:
    """Decodes several texts at a time with two programs, see `jaxlm.decode.slots.SlotDecoder`.

    Attributes:
        context: the longest sequence.
        pieces: numbers of tokens of a prompt that may be read at a time.
        sizes: places that a step may be limited to.
        counts: tokens that a step may add.
        programs: `prefill_name` of each piece, and `step_name` of each size and count.
    """

    context: int
    pieces: tuple[int, ...]
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    programs: Mapping[str, export.Exported]

    @property
    def piece(self) -> int:
        """Return the largest of the pieces."""
        return self.pieces[-1]

    def init(self, variables: Any, count: int) -> Any:
        """Return the empty caches of a number of slots."""
        del variables
        program = self.programs[prefill_name(self.piece)]
        (_, slots, *_), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
        return tuple(jax.numpy.zeros((count, *leaf.shape[1:]), leaf.dtype) for leaf in slots)

    def prefill(self, variables: Any, slots: Any, *rest: Any) -> tuple[Any, jax.Array]:
        """Read a piece of a prompt into a slot, see `ModelSlots.prefill`."""
        program = self.programs[prefill_name(len(rest[1]))]
        return program.call(variables, slots, *rest[:-1], tuple(rest[-1]))

    def step(self, variables: Any, slots: Any, *rest: Any, places: int, count: int) -> tuple[Any, jax.Array]:
        """Add tokens to every slot that is in use, see `ModelSlots.step`."""
        program = self.programs[step_name(places, count)]
        return program.call(variables, slots, *rest[:-1], tuple(rest[-1]))


def prefill_name(piece: int) -> str:
    """Return the name of the program that reads a piece of so many tokens."""
    return f"prefill-{piece}"


def step_name(places: int, count: int) -> str:
    """Return the name of the program of a step."""
    return f"step-{places}-{count}"


def export_slots(decoder: SlotDecoder, variables: Any) -> dict[str, bytes]:
    """Lower what decodes several texts at a time, for any number of slots: programs by name, see `ExportedSlots`."""
    spec = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    count: Any = export.symbolic_shape("s")[0]
    slots = jax.eval_shape(lambda v: decoder.init(v, count), spec)
    leaves, form = jax.tree.flatten(slots)

    def flat(function: Callable[..., tuple[Any, Any]]) -> Any:
        def call(variables: Any, leaves: Any, *rest: Any) -> tuple[Any, Any]:
            after, token = function(variables, jax.tree.unflatten(form, leaves), *rest[:-1], Draw(*rest[-1]))
            return tuple(jax.tree.leaves(after)), token

        return jax.jit(call)

    def draw(*shape: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
        dtypes = (np.uint32, np.int32, np.float32, np.float32)
        return tuple(jax.ShapeDtypeStruct(shape, dtype) for dtype in dtypes)

    whole, truth, many = jax.ShapeDtypeStruct((), np.int32), jax.ShapeDtypeStruct((), np.bool_), (count,)
    tokens, used = jax.ShapeDtypeStruct(many, np.int32), jax.ShapeDtypeStruct(many, np.bool_)
    found = {}
    for piece in decoder.pieces:
        given = jax.ShapeDtypeStruct((piece,), np.int32)
        lowered = export.export(flat(decoder.prefill), platforms=PLATFORMS)(
            spec, tuple(leaves), whole, given, whole, truth, draw()
        )
        found[prefill_name(piece)] = bytes(lowered.serialize())
    for places in decoder.sizes:
        for several in decoder.counts:
            step = flat(partial(decoder.step, places=places, count=several))
            lowered = export.export(step, platforms=PLATFORMS)(spec, tuple(leaves), tokens, used, draw(count))
            found[step_name(places, several)] = bytes(lowered.serialize())
    return found
