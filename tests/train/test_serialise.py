"""A config survives JSON, and only dataclasses come out of it."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data import Text
from jaxlm.errors import BadInput
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW, Lion
from jaxlm.train import Config, Run
from jaxlm.train.serialise import digest, flatten, from_json, to_json


@given(
    depth=st.integers(1, 64),
    dropout=st.floats(0, 0.99),
    path=st.none() | st.text(max_size=9),
    optim=st.sampled_from([AdamW(), Lion(clip=None)]),
    accumulate=st.integers(1, 8),
)
def test_a_config_comes_back_equal(depth, dropout, path, optim, accumulate):
    model = GPT(vocab=256, depth=depth, width=8, heads=2, context=8, dropout=dropout)
    config = Config(model=model, data=Text(path=path), optim=optim, run=Run(accumulate=accumulate))
    assert from_json(to_json(config)) == config


def test_flattening_names_every_leaf_once():
    config = Config(model=GPT(vocab=2, depth=3, width=8, heads=2, context=8), data=Text(), optim=AdamW())
    leaves = flatten(to_json(config))
    assert leaves["model.depth"] == 3
    assert leaves["data.tokenizer.type"] == "jaxlm.data.tokenizers:Bytes"
    assert "model.name" not in leaves
    assert leaves["optim.groups"][0]["name"]


def test_the_digest_is_of_the_content_and_not_of_the_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"type": "jaxlm.models.gone:GPT"}, "cannot be imported"),
        ({"type": "subprocess:Popen", "args": "true"}, "not a dataclass"),
        ({"type": "jaxlm.parallel:Place", "speed": 3}, "the fields speed"),
    ],
)
def test_what_is_no_dataclass_of_these_fields_is_refused(value, told):
    with pytest.raises(BadInput, match=told):
        from_json(value)


def test_a_function_is_no_config_value():
    @dataclass
    class Odd:
        function: object

    with pytest.raises(TypeError, match="plain values"):
        to_json(Odd(print))
