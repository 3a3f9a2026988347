"""What later inputs and answers are compared with: sketches of those of an evaluation."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxlm.data.audio.recordings import FULL
from jaxlm.data.protocol import Data
from jaxlm.drift.features import features_of
from jaxlm.drift.sketch import Sketch, Value, sketches_of
from jaxlm.errors import BadInput, join_reasons
from jaxlm.predict.classes import ClassProbabilities
from jaxlm.predict.continuations import DecodeTokens, Prompt, TokenizePrompts
from jaxlm.predict.load import LoadedModel
from jaxlm.predict.predictor import Predictor, Prepared, answer_all
from jaxlm.predict.sound.speech import ReadSpeech, WriteHeard
from jaxlm.predict.sound.transcripts import WriteTranscript
from jaxlm.predict.sound.vocoders import WriteCopy
from jaxlm.predict.sound.voices import ReadTexts, WriteSpeech
from jaxlm.predict.tables.rows import RestoreNumber, RowClass
from jaxlm.predict.vision.boxes import ReadScenes, WriteBoxes
from jaxlm.predict.written import DecodeWritten

COUNT = 1000  # examples of a reference
QUICK = (ClassProbabilities, RowClass, RestoreNumber, DecodeWritten, WriteBoxes, WriteHeard)
SLOW = (DecodeTokens, WriteTranscript, WriteSpeech, WriteCopy)  # of these one answer in `SOME` is computed
SOME = 5


def reference_of(model: LoadedModel, data: Data, count: int = COUNT) -> dict[str, Sketch]:
    """Return sketches of the features of examples and of the model's answers to them.

    Batches are taken from all of the data, as those are often in order. Where nothing that the model reads can be made
    of them there are no sketches. Texts without an answer, as a language model is trained on, are no prompts: of them
    only the tokens are known.

    Args:
        model: what answers.
        data: of an evaluation.
        count: examples, about.
    """
    post = model.predictor.postprocess
    step = 1 if isinstance(post, QUICK) else SOME if isinstance(post, SLOW) else None
    rows: list[dict[str, Value]] = []
    for batch in _spread(data, count):
        rows += _features(model, _examples(model.predictor, batch), step)
    return sketches_of(rows) if rows else {}


def reference_of_inputs(model: LoadedModel, inputs: Sequence[Any]) -> dict[str, Sketch]:
    """Return sketches of the features of raw inputs, such as prompts, and of the model's answers to them.

    Args:
        model: what answers.
        inputs: as they are expected.

    Raises:
        BadInput: there are none, or one cannot be read; names its number from 0.
    """
    if not inputs:
        raise BadInput("there are no inputs to compare with: give some, a line each")
    found = list(model.predictor.preprocess(inputs))
    if broken := [f"input {number}: {one}" for number, one in enumerate(found) if isinstance(one, BadInput)]:
        raise BadInput(join_reasons(broken))
    return sketches_of(_features(model, found, 1))


def _features(model: LoadedModel, group: Sequence[Prepared | BadInput], step: int | None) -> list[dict[str, Value]]:
    """Return the features of inputs, with those of the answer to every `step`-th."""
    predictor = model.predictor
    whole = [one for one in group if not isinstance(one, BadInput) and one.rows]
    writes = isinstance(predictor.postprocess, DecodeTokens)
    texts = {place for place, one in enumerate(whole) if writes and one.context is None}
    chosen = [place for place in range(0, len(whole) if step else 0, step or 1) if place not in texts]
    read = dataclasses.replace(predictor, preprocess=iter)  # they are read already
    answers = answer_all(read, model.variables, [whole[place] for place in chosen], batch=predictor.batch)
    answered = dict(zip(chosen, answers, strict=True))
    found = []
    for place, one in enumerate(whole):
        answer = answered.get(place)
        features = features_of(predictor.preprocess, one.rows, None if isinstance(answer, BadInput) else answer)
        found.append({name: x for name, x in features.items() if place not in texts or name != "length"})
    return found


def _examples(predictor: Predictor, batch: Mapping[str, Any]) -> list[Prepared | BadInput]:
    """Return the rows of a batch as the predictor reads them; none where they cannot be."""
    read, places = predictor.preprocess, _real(batch)
    if isinstance(read, TokenizePrompts):
        return _prompts(read, batch, places)
    if isinstance(read, ReadScenes) and {"image", "extent"} <= batch.keys():
        sizes = batch["extent"].astype(int)
        return list(read([batch["image"][row, : sizes[row, 1], : sizes[row, 0]] for row in places]))
    if isinstance(read, ReadSpeech) and {"audio", "samples"} <= batch.keys():
        return list(read([batch["audio"][row, : batch["samples"][row]] / np.float32(FULL) for row in places]))
    if isinstance(read, ReadTexts) and {"targets", "target_lengths", "speaker"} <= batch.keys():
        ends, voices = batch["target_lengths"], batch["speaker"]
        texts = {row: read.tokenizer.decode(batch["targets"][row, : ends[row]]) for row in places}
        return list(read([[text, read.speakers[voices[row]]] for row, text in texts.items()]))
    names = next((one.keys() for one in predictor.examples if _has(batch, one)), ())
    return [Prepared([{name: np.asarray(batch[name][row]) for name in names}]) for row in places if names]


def _prompts(read: TokenizePrompts, batch: Mapping[str, Any], places: np.ndarray) -> list[Prepared | BadInput]:
    """Return the prompts of conversations, or of rows that are prompts; or rows of texts, which have no context.

    A prompt is the tokens before the first target that counts. There are as many as rows at most, chosen at random, as
    those of one packed row are in order of their lengths.
    """
    found: list[Prepared | BadInput] = []
    for row in places:
        parts = {name: batch[name][row] for name in ("tokens", "segments", "mask") if np.ndim(batch.get(name, 0)) > 1}
        if parts["tokens"].ndim > 1:  # a better and a worse answer to one prompt
            parts = {name: x[0] for name, x in parts.items()}
        segments = parts.get("segments", np.ones_like(parts["tokens"]))
        for number in range(1, int(segments.max()) + 1):
            inside = np.flatnonzero(segments == number)
            counted = np.flatnonzero(parts["mask"][inside]) if "mask" in parts else [len(inside) - 1]
            if len(counted):
                text = counted[0] == 0
                tokens = parts["tokens"][inside if text else inside[: counted[0] + 1]].tolist()
                tokens = tokens[-(read.context - read.new) :]
                found.append(Prepared([read.row(tokens, 0)], None if text else Prompt(tokens, read.new)))
    chosen = np.sort(np.random.default_rng(0).permutation(len(found))[: len(places)])
    return [found[place] for place in chosen]


def _real(batch: Mapping[str, Any]) -> np.ndarray:
    """Return the rows of a batch that are no padding."""
    size = len(next(iter(batch.values())))
    return np.flatnonzero(np.asarray(batch.get("mask", np.ones(size))).reshape(size, -1).any(1))


def _spread(data: Data, count: int) -> Iterator[Mapping[str, Any]]:
    """Yield batches from all over the data, with about so many rows together."""
    if not len(data):
        return
    size = len(next(iter(data[0].values())))
    wanted = min(len(data), max(1, -(-count // size)))
    yield from (data[int(number)] for number in np.linspace(0, len(data) - 1, wanted).round())


def _has(batch: Mapping[str, Any], example: Mapping[str, Any]) -> bool:
    return all(
        name in batch and (batch[name].shape[1:], batch[name].dtype) == (x.shape[1:], x.dtype)
        for name, x in example.items()
    )
