"""Vectors of texts over the route of OpenAI's API."""

import asyncio
import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from jaxlm.errors import BadInput, join_reasons
from jaxlm.predict.texts import GiveEmbedding
from jaxlm.serve.shelf import Shelf


class EmbeddingRequest(BaseModel):
    """Texts whose vectors are wanted."""

    model_config = ConfigDict(extra="forbid")

    model: str
    input: str | Annotated[list[str], Field(max_length=2048)] = Field(description="A text, or up to 2048 of them.")
    encoding_format: Literal["float", "base64"] | None = Field(
        "float", description="Numbers, or the base64 of little-endian float32."
    )
    dimensions: int | None = Field(None, description="That of the model, or none.")
    user: str | None = None


def embedding_routes(shelf: Shelf, seconds: float) -> APIRouter:
    """Return the route of embeddings.

    Args:
        shelf: the models.
        seconds: until a request is given up.
    """
    routes = APIRouter(prefix="/v1", tags=["openai"])

    @routes.post("/embeddings")
    async def embeddings(asked: EmbeddingRequest, request: Request) -> dict[str, Any]:
        """Return the vectors of texts, each of length 1."""
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        if not texts:
            raise BadInput("no input: give a text")
        with shelf.using(asked.model, request.state.id) as served:
            request.state.log = {"model": served.name, "inputs": len(texts)}
            if not isinstance(served.predictor.postprocess, GiveEmbedding):
                raise BadInput(f"{served.name} gives no vectors: export an encoder with --to embeddings")
            async with asyncio.timeout(seconds):
                found = await served.answer(texts, {})
        if errors := [f"input {number}: {one}" for number, one in enumerate(found) if isinstance(one, BadInput)]:
            raise BadInput(join_reasons(errors))
        vectors = [one["embedding"] for one in found if not isinstance(one, BadInput)]
        if asked.dimensions not in (None, len(vectors[0])):
            raise BadInput(f"dimensions is {asked.dimensions}, and the model has {len(vectors[0])}: leave it out")
        read = sum(one["tokens"] for one in found if not isinstance(one, BadInput))
        plain = asked.encoding_format != "base64"
        data = [
            {"object": "embedding", "index": number, "embedding": vector if plain else _base64(vector)}
            for number, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": read, "total_tokens": read}
        return {"object": "list", "data": data, "model": served.name, "usage": usage}

    return routes


def _base64(vector: list[float]) -> str:
    return base64.b64encode(np.array(vector, "<f4").tobytes()).decode()
