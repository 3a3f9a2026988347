"""A config survives JSON, and only dataclasses come out of it."""

import copy
from dataclasses import dataclass
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxlm.data import Text
from jaxlm.errors import BadInput
from jaxlm.models.gpt import GPT
from jaxlm.optim import AdamW, Lion
from jaxlm.runs.serialise import digest, flatten, from_json, to_json
from jaxlm.train import Config, Run
from jaxlm.train.config import load_config
from whole_path import ROOT


@given(
    depth=st.integers(1, 64),
    dropout=st.floats(0, 0.99),
    path=st.none() | st.text(max_size=9),
    optim=st.sampled_from([AdamW(), Lion(clip_norm=None)]),
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
    assert leaves["data.tokenizer.type"] == "jaxlm.data.tokenizers.specs:Bytes"
    assert "model.name" not in leaves
    assert leaves["optim.groups"][0]["name"]


def test_the_digest_is_of_the_content_and_not_of_the_order():
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"type": "jaxlm.models.gone:GPT"}, "cannot be imported"),
        ({"type": "subprocess:Popen", "args": "true"}, "neither jaxlm nor code kept with the run"),
        ({"type": "antigravity:fly"}, "neither jaxlm nor code kept with the run"),
        ({"type": "jaxlm.runs.load./etc#0.passwd:Evil"}, "neither jaxlm nor code kept with the run"),
        ({"type": "code/../../evil.py@00:Evil"}, "neither jaxlm nor code kept with the run"),
        ({"type": "jaxlm.runs.serialise:to_json"}, "not a dataclass"),
        ({"type": "jaxlm.runs.directory:Path"}, "neither jaxlm nor code kept with the run"),
        ({"type": "jaxlm.losses.dpo:DPO", "beta": {"type": 3}}, "without a class"),
        ({"type": "jaxlm.models.gpt:GPT", "vocab": 9}, "missing .* required"),
        ({"type": "jaxlm.parallel:PlacementSpec", "speed": 3}, "the fields speed"),
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


def places(value, path=()):
    """The path to every value in JSON that is not the class of an object."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key != "type":
            yield (*path, key)
            yield from places(item, (*path, key))


@pytest.mark.parametrize("name", ["cnn_digits", "llama_stories_lora", "minilm_sst2", "resnet18_cifar10"])
def test_a_value_of_another_type_than_its_field_is_refused_wherever_it_is(name):
    whole = to_json(load_config(ROOT / "configs" / f"{name}.py"))
    refused = 0
    for path in places(whole):
        changed = copy.deepcopy(whole)
        part = reduce(lambda value, key: value[key], path[:-1], changed)
        part[path[-1]] = 3 if isinstance(part[path[-1]], str | None | list) else "x"
        if part[path[-1]] == 3 and path[-1] in ("init_seed", "data_seed", "noise_seed", "patience", "loss"):
            continue  # numbers or None
        if reduce(lambda value, key: value[key], path, whole) is None:
            continue  # what it may be besides is not seen here
        with pytest.raises(BadInput, match=r"^[^\n]+$"):
            from_json(changed)
        refused += 1
    assert refused > 40


def test_a_whole_number_is_a_float_and_true_is_no_number():
    assert from_json({"type": "jaxlm.runs.settings:Run", "ema": 0}) == Run(ema=0)
    for value in (True, "0", None, [0]):
        with pytest.raises(
            BadInput, match=r"the config does not fit jaxlm.runs.settings:Run: ema is [^\n]*, and must be"
        ):
            from_json({"type": "jaxlm.runs.settings:Run", "ema": value})
