"""A real tiny Llama gives the text and the logits that transformers gave, and trains on from there."""

import json

import jax
import numpy as np
import pytest

from jaxlm.data import Pretrained
from jaxlm.decode import continue_text, generate
from jaxlm.hub import pretrained


@pytest.fixture
def stories(real_data):
    """The folder of the weights, what transformers made of them, and the model."""
    folder = real_data / "stories260k"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing: no pretrained Llama on this machine")
    return folder, json.loads((folder / "reference.json").read_text()), pretrained.load_pretrained(folder)


def test_the_first_200_greedy_tokens_are_those_of_transformers(stories):
    _, reference, (model, leaves) = stories
    first, *rest = reference["greedy_from_bos"]
    options = {"length": len(rest), "temperature": 0.0}
    (found,) = generate(model, {**pretrained.tree_from_leaves(leaves)}, [[first]], jax.random.key(0), **options)
    assert len(rest) == 200
    assert found == rest


def test_logits_are_those_of_transformers(stories):
    _, reference, found = stories
    tokens = np.array([reference["greedy_from_bos"][:64]], np.int32)
    logits = jax.jit(found.model.apply)(found.variables, tokens)[0, -1]
    expected = np.array(reference["logits_last_of_first_64"])
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_its_text_begins_as_the_reference(stories):
    folder, reference, found = stories
    tokenizer = Pretrained(str(folder / "reference.json")).build(())
    (text,) = continue_text(
        found.model, found.variables, tokenizer, ["Once upon a time"], jax.random.key(0), length=40, temperature=0.0
    )
    whole = reference["text"].replace("<0x0A>", "\n").strip()
    assert text.startswith(", there was a little girl named Lily.")
    assert whole.startswith("Once upon a time" + text)
