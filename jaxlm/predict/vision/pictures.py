"""Answer with a picture of a text.

H height, W width, C channels, L tokens of a caption.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.data.captions.captioned import PICTURES
from jaxlm.data.images.sheet import sheet_png
from jaxlm.data.readers.json_text import parse_json
from jaxlm.data.tokenizers.specs import AnyTokenizer, load_tokenizer
from jaxlm.decode.pictures import Paint, check_painting
from jaxlm.errors import BadInput
from jaxlm.predict.predictor import Answer, Example, Predictor, Prepared, answer_all, in_evaluation, zeros
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, typed_keys

PURPOSE = 13  # separates these draws from others of a seed


def painted(paint: Callable[[Any, Any, jax.Array], jax.Array], shape: tuple[int, ...]) -> LossFn:
    """Return a function with the arguments of a loss that gives {"picture": uint8 [B, H, W, C]} for the metrics.

    Args:
        paint: (variables, batch, noise from N(0, 1)) -> pictures, about -1 to 1.
        shape: of the noise of one picture.
    """

    def function(params: Any, variables: Any, batch: Any, key: jax.Array, *, train: bool) -> tuple[Any, Any]:
        del key, train
        keys_B = typed_keys(batch["keys"])
        noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys_B)
        picture_BHWC = paint({"params": params, **variables}, batch, noise).astype(jnp.float32)
        return {"picture": pixels(picture_BHWC)}, variables

    return function


def pixels(picture: jax.Array) -> jax.Array:
    """Return the pixels of pictures, uint8, from float32 of about -1 to 1."""
    return jnp.rint(jnp.clip((picture + 1) * 127.5, 0, 255)).astype(jnp.uint8)


def check_shape(config: Any) -> None:
    """Raise BadInput unless the images of `config.data` have the shape of `config.model`."""
    config.model.validate()
    shape = tuple(config.data.shape())
    if shape != tuple(config.model.shape):
        own = any(field.name == "shape" for field in fields(config.model))
        name, size = "model.shape" if own else "model.pictures.shape", " ".join(map(str, shape))
        raise BadInput(f"the images are {list(shape)} and {name} {list(config.model.shape)}: set --{name} {size}")


@dataclass(frozen=True, kw_only=True)
class ReadPrompts:
    """Make rows of texts of which pictures are to be made; the empty text has no caption.

    A picture is a function of (seed, text, how many equal texts precede it). Rows: "tokens" and "segments" int32 [L],
    and "keys" uint32 [2].

    Attributes:
        tokenizer: of the run.
        width: L.
        seed: of the noise.
    """

    tokenizer: AnyTokenizer
    width: int
    seed: int = 0

    options: ClassVar[tuple[str, ...]] = ("seed",)

    def __post_init__(self) -> None:
        """Check the options; raises BadInput."""
        if self.seed < 0:
            raise BadInput(f"seed is {self.seed}: give 0 or more")

    def __call__(self, inputs: Iterable[Any]) -> Iterator[Prepared | BadInput]:
        """Yield the row of each text, or why there is none."""
        before: Counter[str] = Counter()
        for text in inputs:
            try:
                yield Prepared([self.row(text, before[str(text)])])
            except BadInput as error:
                yield error
            before[str(text)] += 1

    def row(self, text: Any, number: int) -> Example:
        """Return the row of picture `number` of a text.

        Raises:
            BadInput: it is not a text, is too long, or has a word that no caption had.
        """
        if not isinstance(text, str):
            raise BadInput("not a text: give what is to be seen in the picture, or an empty text")
        ids = self.tokenizer.encode(text)
        if len(ids) > self.width:
            raise BadInput(f"a text of {len(ids)} tokens, and captions have at most {self.width}: shorten it")
        unknown = self.tokenizer.special.unk
        if unknown is not None and unknown in ids:
            words = [word for word in text.split() if unknown in self.tokenizer.encode(word)]
            raise BadInput(f"no caption of the training has the word {words[0]!r}: take another one")
        room = (0, self.width - len(ids))
        return {
            "tokens": np.pad(ids, room).astype(np.int32),
            "segments": np.pad(np.ones(len(ids), np.int32), room),
            "keys": picture_key(self.seed, text, number),
        }


@dataclass(frozen=True, kw_only=True)
class ReadGuidedPrompts(ReadPrompts):
    """Make rows of texts for pictures that are made step by step, with guidance: "steps" int32, "guidance" float32.

    Attributes:
        steps: see `jaxlm.decode.pictures.Paint`.
        guidance: see there.
    """

    steps: int = 20
    guidance: float = 2.0

    options: ClassVar[tuple[str, ...]] = ("steps", "guidance", "seed")

    def __post_init__(self) -> None:
        """Check the options; raises BadInput."""
        super().__post_init__()
        check_painting(self.steps, self.guidance)

    def row(self, text: Any, number: int) -> Example:
        """Return the row of picture `number` of a text; raises BadInput as `ReadPrompts.row` does."""
        how = {"steps": np.asarray(self.steps, np.int32), "guidance": np.asarray(self.guidance, np.float32)}
        return super().row(text, number) | how


def picture_key(seed: int, text: str, number: int) -> np.ndarray:
    """Return the PRNG key of picture `number` of a text, uint32 [2]."""
    seeds = [PURPOSE, seed, number, *text.encode("utf-8", "surrogatepass")]
    return np.random.Philox(np.random.SeedSequence(seeds)).random_raw(1).view(np.uint32)


@dataclass(frozen=True)
class WritePicture:
    """Answer with {"pixels": lists of numbers 0 to 255, [H][W][C], "height", "width"}."""

    def __call__(self, outputs: Sequence[Example], context: Any) -> Answer:
        """Return the answer for one picture."""
        del context
        picture = outputs[0]["picture"]
        return {"pixels": picture.tolist(), "height": picture.shape[0], "width": picture.shape[1]}


def read_shape(run: RunDirectory) -> tuple[int, int, int]:
    """Return (height, width, channels) of the pictures of a run.

    Raises:
        BadInput: it is no run of pictures, or the file is damaged.
    """
    match parse_json(run.artefact(PICTURES), str(run.path / PICTURES)):
        case {"shape": [int(height), int(width), int(channels)]} if min(height, width, channels) > 0:
            return height, width, channels
    raise BadInput(f"{run.path / PICTURES} has no shape of pictures: take the file from the run again")


def painter(function: LossFn, config: Any, tokenizer: AnyTokenizer) -> Predictor:
    """Compose the predictor of a model that makes pictures.

    Args:
        function: `painted(...)` under the transforms that the loss is under.
        config: of the run; its data are a spec of `jaxlm.data.captions`, its `decode` is a `Paint` where pictures are
            made step by step.
        tokenizer: of the run.
    """
    own, paint = {"tokenizer": tokenizer, "width": config.data.width}, config.decode
    if isinstance(paint, Paint):
        read: ReadPrompts = ReadGuidedPrompts(**own, steps=paint.steps, guidance=paint.guidance)
    else:
        read = ReadPrompts(**own)
    return Predictor(
        read, in_evaluation(function), WritePicture(), (zeros(read.row("", 0), config.data.batch_sizes[1]),)
    )


def picture_painter(compose: Callable[[tuple[int, ...]], LossFn], config: Any, run: RunDirectory) -> Predictor:
    """Compose the predictor of a run from what it kept; `compose` makes the function of `painter` of a shape."""
    return painter(compose(read_shape(run)), config, load_tokenizer(run.artefact("tokenizer.json")))


def picture_sheet(predictor: Predictor, variables: Any, prompts: Sequence[str], count: int) -> bytes:
    """Return a PNG of `count` pictures of each text.

    Raises:
        BadInput: a text that no picture can be made of.
    """
    answers = list(answer_all(predictor, variables, [text for text in prompts for _ in range(count)]))
    for answer in answers:
        if isinstance(answer, BadInput):
            raise answer
    made = np.array([answer["pixels"] for answer in answers if isinstance(answer, dict)], np.uint8)
    return sheet_png({text: made[n * count : (n + 1) * count] for n, text in enumerate(prompts)})
