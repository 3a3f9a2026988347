"""What a model of a service is asked for and with what: the kind of its inputs, their JSON, and its options."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxlm.errors import BadInput
from jaxlm.export.artefact import from_wire
from jaxlm.predict.agents.actions import ReadObservations
from jaxlm.predict.answers import TokenizeQuestions
from jaxlm.predict.continuations import TokenizeChats, TokenizePrompts
from jaxlm.predict.images import ReadImages
from jaxlm.predict.masks import TokenizeMasked
from jaxlm.predict.predictor import Predictor
from jaxlm.predict.recommendations import FindUsers
from jaxlm.predict.sound.speech import ReadSpeech
from jaxlm.predict.sound.voices import ReadTexts
from jaxlm.predict.tables.rows import EncodeRows
from jaxlm.predict.tags import TokenizeWords
from jaxlm.predict.texts import TokenizeTexts
from jaxlm.predict.vision.boxes import ReadScenes
from jaxlm.predict.vision.pictures import ReadPrompts
from jaxlm.predict.written import TokenizeSources

KINDS: tuple[tuple[Any, str], ...] = (
    (TokenizeChats, "chat"),
    (TokenizePrompts, "prompt"),
    ((TokenizeTexts, TokenizeMasked, TokenizeWords, TokenizeSources, ReadTexts, ReadPrompts), "text"),
    (TokenizeQuestions, "question"),
    ((ReadImages, ReadScenes), "image"),
    (ReadSpeech, "audio"),
    (EncodeRows, "row"),
    (FindUsers, "user"),
    (ReadObservations, "observation"),
)
BINARY = ("image", "audio")  # kinds whose inputs are the bytes of a file
NOT_OURS = {"skip_rows"}  # options of a command line, not of a request


def read_as(kind: str, value: Any) -> Any:
    """Return the raw input of its JSON, for a model whose inputs are of that kind, see `Form`.

    Raises:
        BadInput: bytes where none belong, or the name of a file, which a service never opens.
    """
    found = from_wire(value)
    if kind in BINARY and not isinstance(found, bytes):
        raise BadInput(f'not {"an" if kind[0] in "ai" else "a"} {kind}: give {{"base64": "..."}}')
    if isinstance(found, bytes) and kind not in BINARY:
        raise BadInput(f"base64 is for images and audio, and this model reads a {kind}: give it as JSON")
    return found


@dataclass(frozen=True)
class Form:
    """How a model is asked.

    Attributes:
        kind: "text", "pair" (of texts), "prompt", "chat", "question", "image", "audio", "row", "user" or
            "observation".
        options: names of what a request may choose, with their values where it does not.
        columns: of a row.
    """

    kind: str
    options: Mapping[str, Any]
    columns: tuple[str, ...] = ()

    def read(self, values: Iterable[Any]) -> list[Any]:
        """Return the raw input of each JSON, or the `BadInput` of `read_as`."""
        found: list[Any] = []
        for value in values:
            try:
                found.append(read_as(self.kind, value))
            except BadInput as error:
                found.append(error)
        return found

    def choose(self, predictor: Predictor, options: Mapping[str, Any]) -> Predictor:
        """Return the predictor with the options of a request.

        Raises:
            BadInput: there is no such option, or the value cannot be.
        """
        if unknown := sorted(set(options) - set(self.options)):
            raise BadInput(f"no option {unknown[0]!r}: there are {', '.join(self.options) or 'none'}")
        return predictor.with_options(**options) if options else predictor


def form_of(predictor: Predictor) -> Form:
    """Return how a predictor is asked.

    Raises:
        BadInput: its preprocessing is a class of the experiment's own, which a service does not know.
    """
    pre, post = predictor.preprocess, predictor.postprocess
    kind = next((name for kind, name in KINDS if isinstance(pre, kind)), None)
    if kind is None:
        raise BadInput(
            f"{type(pre).__name__} is not of jaxlm, and a service does not know its inputs: derive one that is"
        )
    files = {name for half in (pre, post) for name in getattr(half, "files", ())} | NOT_OURS
    options = {name: getattr(half, name) for half in (pre, post) for name in getattr(half, "options", ())}
    columns = pre.schema.names if isinstance(pre, EncodeRows) else ()
    kind = "pair" if getattr(pre, "pair", False) else kind
    return Form(kind, {name: value for name, value in options.items() if name not in files}, columns)
