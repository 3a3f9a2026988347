"""The JSON of requests and answers, as the OpenAPI description has it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class PredictRequest(BaseModel):
    """Raw inputs for a model."""

    model_config = ConfigDict(extra="forbid")

    inputs: list[Any] = Field(
        min_length=1,
        max_length=1024,
        description="A text; a list of two texts; an object of cells; {question, context}; {base64} of an image or a "
        "recording; messages; an observation as lists of numbers. GET /v1/models has an example for each model.",
    )
    model: str | None = Field(None, description="By its name; the only one where there is one.")
    options: dict[str, Any] = Field({}, description="Of the model, such as top or temperature.")
    skip_broken: bool = Field(False, description="Answer {error} for inputs that cannot be read, and the others.")


class PredictAnswer(BaseModel):
    """One answer an input, in order."""

    id: str = Field(description="Of the request; feedback names it.")
    model: str
    digest: str = Field(description="SHA-256 of the model that answered.")
    answers: list[dict[str, Any]]


class Error(BaseModel):
    """Why there is no answer."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Refusal(BaseModel):
    """An error."""

    error: Error


class ModelEntry(BaseModel):
    """A model that is served."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "jaxlm"
    digest: str
    kind: str = Field(
        description="What an input is: text, pair, prompt, chat, question, image, audio, row, user or observation."
    )
    columns: list[str] = Field(description="Of a row.")
    options: dict[str, Any] = Field(description="What a request may choose, with the values where it does not.")
    example: Any = Field(description="An input that the model can read.")
    context: int | None = Field(description="The longest text in tokens, of a model that writes texts.")


class ModelList(BaseModel):
    """The models that are served."""

    object: str = "list"
    data: list[ModelEntry]


class FeedbackRequest(BaseModel):
    """What a person or a program says about an answer."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=64, description="Of the request that was answered.")
    index: int = Field(0, ge=0, lt=1024, description="Of the input in that request.")
    model: str | None = Field(None, description="By its name; the only one where there is one.")
    label: str | None = Field(None, min_length=1, max_length=10_000, description="The right class, or the right text.")
    correction: Any = Field(None, description="The right answer, as JSON.")
    rating: float | None = Field(None, ge=-1e6, le=1e6, description="How good the answer was; larger is better.")
    input: Any = Field(None, description="What was asked, where the service does not keep it (--keep-predictions).")


class FeedbackAnswer(BaseModel):
    """Feedback that is on disk."""

    id: str
    kept: bool = True


class ReloadRequest(BaseModel):
    """Which model to open again."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, description="By its name; the only one where there is one.")


class ReloadAnswer(BaseModel):
    """What is served from now on."""

    model: str
    digest: str
    before: str = Field(description="The digest of what was served.")
