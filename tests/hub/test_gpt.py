"""config.json of GPT-2, Llama, Mistral and Qwen2, and what of it is refused; prefixes, tied and fused tensors."""

import json
from functools import cache

import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.hub import pretrained, tensors
from jaxlm.hub.options import Options
from jaxlm.models.gpt import GPT
from jaxlm.nn.position import RotaryScaling

GPT2 = GPT(vocab=11, depth=2, width=8, heads=2, context=12, dropout=0.1)
LLAMA = GPT(11, 2, 8, 2, 12, 1, "rms", activation="swiglu", positions="rotary", hidden=12, bias=False, tied=False)
LLAMA = LLAMA.clone(attention_bias="none")
MISTRAL, QWEN2 = LLAMA.clone(window=4), LLAMA.clone(attention_bias="qkv")
SCALED = LLAMA.clone(rotary_scaling=RotaryScaling(factor=4.0, original=6), rotary_base=500.0)
MODELS = {
    "gpt2": GPT2,
    "gpt2 exact gelu": GPT2.clone(activation="gelu_exact", hidden=24, eps=1e-3, tied=False),
    "gpt2 relu": GPT2.clone(activation="relu"),
    "llama": LLAMA,
    "llama biased": LLAMA.clone(bias=True, attention_bias="all", tied=True),
    "llama, biases of the network alone": LLAMA.clone(bias=True),
    "llama wide heads": LLAMA.clone(head_width=6),
    "llama scaled": SCALED,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen2 window": QWEN2.clone(window=3),
}
SCALING = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 6}


def config_of(model, **changes):
    """Their config.json of a model, with options changed; None leaves one out."""
    config = pretrained.to_config(model) | changes
    return {name: value for name, value in config.items() if value is not None}


def module(config):
    return pretrained.model_from_options(Options(config))


@pytest.mark.parametrize("name", MODELS)
def test_a_module_is_known_again_by_the_config_that_it_writes(name):
    assert module(json.loads(json.dumps(config_of(MODELS[name])))) == MODELS[name]
    assert config_of(MODELS[name])["model_type"] == name.split()[0].strip(",")


# What transformers 4.57 reads of the rotary positions of each kind: these two options alone, and no rope_parameters.
READ_BY_4_57 = {
    "llama": {"rope_theta": 10000.0, "rope_scaling": None},
    "llama scaled": {"rope_theta": 500.0, "rope_scaling": SCALING | {"rope_type": "llama3"}},
    "mistral": {"rope_theta": 10000.0, "rope_scaling": None},
    "qwen2": {"rope_theta": 10000.0, "rope_scaling": None},
}


@pytest.mark.parametrize("name", READ_BY_4_57)
def test_rotary_positions_are_written_for_both_versions_of_transformers(name):
    config, scaling = pretrained.to_config(MODELS[name]), READ_BY_4_57[name]["rope_scaling"]
    assert {key: config[key] for key in READ_BY_4_57[name]} == READ_BY_4_57[name]
    newer = (scaling or {"rope_type": "default"}) | {"rope_theta": READ_BY_4_57[name]["rope_theta"]}
    assert config["rope_parameters"] == newer


@pytest.mark.parametrize(
    ("model", "changes", "expected"),
    [
        (LLAMA, {"rope_parameters": None}, LLAMA),
        (LLAMA, {"rope_parameters": None, "rope_theta": 500}, LLAMA.clone(rotary_base=500.0)),
        (SCALED, {"rope_parameters": None, "rope_theta": 500, "rope_scaling": SCALING | {"type": "llama3"}}, SCALED),
        (
            SCALED,
            {"rope_parameters": None, "rope_theta": 500, "rope_scaling": SCALING | {"rope_type": "llama3"}},
            SCALED,
        ),
        (LLAMA, {"num_key_value_heads": None}, LLAMA.clone(kv_heads=2)),
        (LLAMA, {"head_dim": None, "mlp_bias": None, "attention_bias": None, "tie_word_embeddings": None}, LLAMA),
        (LLAMA, {"rms_norm_eps": None}, LLAMA.clone(eps=1e-6)),
        (LLAMA, {"pretraining_tp": 2, "attention_dropout": 0.1}, LLAMA),
        (MISTRAL, {"sliding_window": None}, LLAMA.clone(window=4096)),
        (QWEN2, {"layer_types": None, "use_sliding_window": True, "sliding_window": 3}, QWEN2.clone(window=3)),
        (QWEN2, {"layer_types": None, "sliding_window": 3, "max_window_layers": 1}, QWEN2),
        (GPT2, {"activation_function": "gelu_pytorch_tanh", "n_ctx": 12, "task_specific_params": {}}, GPT2),
        (GPT2, {"tie_word_embeddings": None, "layer_norm_epsilon": None, "resid_pdrop": None}, GPT2),
    ],
)
def test_older_and_shorter_configs_mean_what_they_meant(model, changes, expected):
    assert module(config_of(model, **changes)) == expected


def test_a_window_of_null_is_none():
    assert module(config_of(MISTRAL) | {"sliding_window": None}) == LLAMA


@pytest.mark.parametrize(
    ("model", "changes", "told"),
    [
        (GPT2, {"scale_attn_by_inverse_layer_idx": True}, "has scale_attn_by_inverse_layer_idx true, which is not"),
        (GPT2, {"scale_attn_weights": False}, "has scale_attn_weights false"),
        (GPT2, {"activation_function": "tanh"}, 'has activation_function "tanh", which is not supported: only'),
        (GPT2, {"add_cross_attention": True}, "has add_cross_attention true"),
        (GPT2, {"n_head": None}, "lacks n_head: download it again"),
        (LLAMA, {"hidden_act": "gelu"}, 'has hidden_act "gelu"'),
        (LLAMA, {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}, 'has rope_type "yarn"'),
        (
            LLAMA,
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1.0}},
            "rope_parameters of config.json lacks factor",
        ),
        (LLAMA, {"rope_scaling": SCALING | {"rope_type": "llama3"}}, "which versions of transformers read otherwise"),
        (LLAMA, {"rope_theta": 777.0}, "rope_theta 777.0, which versions of transformers read otherwise"),
        (LLAMA, {"rope_parameters": {"attention_factor": 2.0}}, "rope_parameters of config.json has attention_factor"),
        (LLAMA, {"rope_parameters": {"type": "llama3", "rope_type": "default"}}, 'has type "llama3"'),
        (QWEN2, {"layer_types": ["sliding_attention"] * 2, "use_sliding_window": False}, "has layer_types"),
        (LLAMA, {"partial_rotary_factor": 0.5}, "has partial_rotary_factor 0.5, an option that is not known here"),
        (LLAMA, {"quantization_config": {"bits": 4}}, 'has quantization_config {"bits": 4}'),
        (QWEN2, {"layer_types": ["full_attention", "sliding_attention"]}, "has layer_types"),
        (LLAMA, {"model_type": "mamba"}, 'has model_type "mamba", which is not known here: known are'),
        (LLAMA, {"hidden_size": "64"}, 'has hidden_size "64": it must be a whole number from 1'),
    ],
)
def test_what_is_not_computed_here_is_refused_in_one_line(model, changes, told):
    with pytest.raises(BadInput) as refusal:
        module(config_of(model, **changes))
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (GPT2.clone(norm="rms"), "model.norm is rms, and gpt2 of transformers has layer"),
        (GPT2.clone(pre_norm=False), "model.pre_norm is False"),
        (GPT2.clone(bias=False), "model.bias is False"),
        (GPT2.clone(window=4), "model.window is 4"),
        (GPT2.clone(activation="swiglu"), "model.activation is swiglu"),
        (LLAMA.clone(norm="layer"), "model.norm is layer"),
        (LLAMA.clone(activation="gelu"), "model.activation is gelu"),
        (MISTRAL.clone(bias=True), "model.bias is True"),
    ],
)
def test_a_model_that_transformers_has_not_is_refused_in_one_line(model, told, tmp_path):
    with pytest.raises(BadInput) as refusal:
        pretrained.save_pretrained(tmp_path, model, {})
    assert told in str(refusal.value)
    assert not list(tmp_path.iterdir())


@cache
def drawn(model):
    shapes = pretrained.shapes(pretrained.family_of_model(model), model)
    draw = np.random.default_rng(3)
    return {path: draw.normal(size=leaf.shape).astype(np.float32) for path, leaf in shapes.items()}


@pytest.fixture
def folder(tmp_path):
    """Write a model's random leaves, with tensors changed; returns the folder and the leaves."""

    def call(model, edit=lambda found: found):
        leaves = drawn(model)
        pretrained.save_pretrained(tmp_path, model, leaves)
        found = edit(dict(tensors.Tensors(tmp_path)))
        tensors.save_tensors(tmp_path, found)
        return tmp_path, leaves

    return call


@pytest.mark.parametrize("name", MODELS)
def test_out_then_in_is_the_identity(name, folder):
    path, leaves = folder(MODELS[name])
    found = pretrained.load_pretrained(path)
    assert found.model == MODELS[name]
    assert found.leaves.keys() == leaves.keys()
    for key, leaf in leaves.items():
        np.testing.assert_array_equal(found.leaves[key], leaf, err_msg=key, strict=True)


def test_queries_keys_and_values_are_one_kernel_here(folder):
    path, leaves = folder(QWEN2)
    found = tensors.Tensors(path)
    kernel, bias = (leaves[f"params/block_1/attention/qkv/{kind}"] for kind in ("kernel", "bias"))
    for part, columns in {"q": slice(0, 8), "k": slice(8, 12), "v": slice(12, 16)}.items():
        layer = f"model.layers.1.self_attn.{part}_proj"
        np.testing.assert_array_equal(found[f"{layer}.weight"], kernel[:, columns].T)
        np.testing.assert_array_equal(found[f"{layer}.bias"], bias[columns])


@pytest.mark.parametrize(
    ("model", "edit"),
    [
        (GPT2, lambda found: {name.removeprefix("transformer."): x for name, x in found.items()}),
        (GPT2, lambda found: found | {"lm_head.weight": found["transformer.wte.weight"]}),
        (GPT2, lambda found: found | {"transformer.h.1.attn.bias": np.ones((1, 1, 12, 12), np.float32)}),
        (LLAMA.clone(tied=True), lambda found: {name.removeprefix("model."): x for name, x in found.items()}),
        (LLAMA, lambda found: found | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)}),
    ],
)
def test_names_without_their_prefix_copies_and_buffers_are_read(model, edit, folder):
    path, leaves = folder(model, edit)
    found = pretrained.load_pretrained(path).leaves
    for key, leaf in leaves.items():
        np.testing.assert_array_equal(found[key], leaf, err_msg=key)


@pytest.mark.parametrize(
    ("model", "edit", "told"),
    [
        (
            GPT2,
            {"transformer.ln_f.bias": None},
            "has no tensor transformer.ln_f.bias, which params/final_norm/bias needs",
        ),
        (GPT2, {"score.weight": np.ones((2, 8))}, "has a tensor score.weight [2, 8], which the model"),
        (
            GPT2,
            {"transformer.wpe.weight": np.ones((9, 8))},
            "wpe.weight is [9, 8] in PATH, where its config.json makes",
        ),
        (GPT2, {"lm_head.weight": np.ones((11, 8))}, "lm_head.weight and transformer.wte.weight differ in PATH"),
        (LLAMA, {"model.layers.1.self_attn.k_proj.weight": np.ones((8, 8))}, "k_proj.weight is [8, 8] in PATH"),
        (LLAMA, {"model.norm.weight": np.ones(8, np.int8)}, "model.norm.weight of PATH holds int8: quantised weights"),
        (
            LLAMA,
            {"model.layers.2.mlp.up_proj.weight": np.ones((12, 8))},
            "has a tensor model.layers.2.mlp.up_proj.weight",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_in_one_line(model, edit, told, folder):
    path, _ = folder(model, lambda found: {name: x for name, x in (found | edit).items() if x is not None})
    with pytest.raises(BadInput) as refusal:
        pretrained.load_pretrained(path)
    assert told.replace("PATH", str(path)) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '"x"'])
def test_a_config_that_is_no_json_object_is_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match=r"config\.json (cannot be read|is not a JSON object)"):
        pretrained.load_pretrained(tmp_path)
