"""A text encoder as a model that gives vectors: what `jaxlm export --to embeddings` writes."""

from functools import partial
from pathlib import Path
from typing import Any

from jaxlm.data.readers.json_text import parse_json
from jaxlm.errors import BadInput
from jaxlm.models.heads import Pool, sentence_vectors
from jaxlm.predict.load import LoadedModel
from jaxlm.runs.checkpoint import CheckpointStep
from jaxlm.runs.directory import LINEAGE, TOKENIZER, RunDirectory

POOLING = Path("1_Pooling") / "config.json"
POOLS: dict[str, Pool] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}


def load_embedder(path: str, step: CheckpointStep) -> tuple[LoadedModel, int | None]:
    """Open the encoder of a run, or of a folder in Hugging Face's layout, as a model that answers with vectors.

    They are as sentence-transformers makes them: the mean of the last layer's vectors over the tokens of a text, or
    what the folder's 1_Pooling/config.json names in its place, with length 1. A head is left out.

    Args:
        path: of a run on texts, or a folder with config.json.
        step: the checkpoint of a run.

    Returns:
        The model, and the checkpoint of the run that it is of, or None.

    Raises:
        BadInput: it cannot be read, or has no encoder of texts.
    """
    from jaxlm.hub.pretrained import load_pretrained
    from jaxlm.predict.texts import text_embedder

    folder = Path(path).expanduser()
    if (folder / "config.json").is_file() and not (folder / LINEAGE).is_file():
        from jaxlm.data import Pretrained

        found = load_pretrained(folder)
        model, variables, chosen = found.model, found.variables, None
        tokenizer: Any = Pretrained(str(folder)).build([])
    else:
        model, variables, tokenizer, chosen = _of_run(path, step)
    if hasattr(model, "encoder"):
        model, variables = model.encoder, {name: tree["encoder"] for name, tree in variables.items()}
    if not hasattr(model, "encode") or not hasattr(model, "context"):
        raise BadInput(f"{path} holds a {type(model).__name__}, which encodes no texts: give a BERT, or a run of one")
    embed = partial(sentence_vectors, model, pool=read_pooling(folder))
    return LoadedModel(text_embedder(embed, tokenizer, model.context), variables), chosen


def read_pooling(folder: Path) -> Pool:
    """Return how a folder of sentence-transformers makes one vector of the tokens' own; "mean" where it says nothing.

    Raises:
        BadInput: several ways at once, or one that is not offered.
    """
    place = folder / POOLING
    if not place.is_file():
        return "mean"
    found = parse_json(place.read_text("utf-8"), str(place))
    if not isinstance(found, dict):
        raise BadInput(f"{place} is no object: take the file from the model again")
    asked = [name for name, value in found.items() if name.startswith("pooling_mode_") and value is True]
    if len(asked) != 1 or asked[0] not in POOLS:
        known = ", ".join(POOLS)
        raise BadInput(f"{place} asks for {' and '.join(asked) or 'no pooling'}: one of {known} is offered")
    return POOLS[asked[0]]


def _of_run(path: str, step: CheckpointStep) -> tuple[Any, Any, Any, int]:
    """Return the model, weights, tokenizer and checkpoint of a run."""
    from jaxlm.data import load_tokenizer
    from jaxlm.runs.settings import Run
    from jaxlm.runs.weights import open_checkpoints, read_run

    home = RunDirectory.existing(path)
    chosen = open_checkpoints(home, home.config().run if step == "best" else Run()).choose(step)
    if not (home.path / TOKENIZER).is_file():
        raise BadInput(f"{path} has no tokenizer, and vectors are of texts: give a run of a text encoder")
    tokenizer = load_tokenizer(home.artefact(TOKENIZER))
    return home.config().model, read_run(home, chosen), tokenizer, chosen
