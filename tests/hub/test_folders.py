"""Folders in Hugging Face's layout, without torch: outputs as transformers computed them once, out is in, bad ones.

The weights are drawn by the tensors' names, and tests/golden/pretrained.json holds what transformers makes of them. It
is compared with transformers by the slow test, which writes it anew where JAXLM_WRITE_GOLDEN is set.
"""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.hub import pretrained, tensors
from jaxlm.models.bert import BERT
from jaxlm.models.gpt import GPT
from jaxlm.models.resnet import ResNet
from jaxlm.models.t5 import T5
from jaxlm.models.vit import ViT
from jaxlm.models.whisper import Whisper

GOLDEN = Path(__file__).parent.parent / "golden" / "pretrained.json"
GPT2 = GPT(vocab=7, depth=1, width=8, heads=2, context=6)
LLAMA = GPT(7, 1, 8, 2, 6, 1, "rms", activation="swiglu", positions="rotary", hidden=12, bias=False, tied=False)
FIRST = T5(vocab=7, depth=1, width=8, heads=2, hidden=12, head_width=3, buckets=4, reach=5)
IMAGES = ViT(3, patch=2, depth=1, width=8, heads=2, hidden=12, image=(4, 6, 3), activation="gelu_exact")
MODELS = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "bert": BERT(vocab=7, depth=1, width=8, heads=2, context=6),
    "t5 1.0": FIRST,
    "t5 1.1": FIRST.clone(decoder_depth=2, activation="geglu", tied=False),
    "vit": IMAGES,
    "vit encoder": IMAGES.clone(classes=0, representation=True, qkv_bias=False, activation="gelu"),
    "resnet basic": ResNet(3, (1, 1), width=4),
    "resnet bottleneck": ResNet(3, (1, 1), "bottleneck", width=4),
    "whisper": Whisper(vocab=7, depth=2, width=8, heads=2, hidden=12, decoder_depth=1, bands=3, source_context=4),
}
every_model = pytest.mark.parametrize("name", MODELS)


def drawn(model):
    """Their tensors, by name: near 1 for scales and variances, near 0 for all else."""
    family = pretrained.family_of_model(model)
    leaves = {path: np.zeros(leaf.shape) for path, leaf in pretrained.shapes(family, model).items()}
    shapes = {name: x.shape for row in family.table(model).rows for name, x in row.to_tensors(leaves[row.path]).items()}
    draw, found = np.random.default_rng(0), {}
    for name in sorted(shapes):
        scale = name.endswith("running_var") or (len(shapes[name]) == 1 and name.endswith("weight"))
        found[name] = (0.2 * draw.standard_normal(shapes[name]) + scale).astype(np.float32)
    return found


@pytest.fixture
def folder(tmp_path):
    """Write a model's config and drawn tensors, with changes: a tensor, or None for one that is left out."""

    def call(name, **changes):
        model = MODELS[name]
        path = tmp_path / "theirs"
        path.mkdir()
        tensors.save_tensors(path, {key: x for key, x in (drawn(model) | changes).items() if x is not None})
        (path / "config.json").write_text(json.dumps(pretrained.to_config(model)))
        return path

    return call


def inputs(name):
    if isinstance(MODELS[name], ViT | ResNet):
        shape = (1, *(MODELS[name].image if "vit" in name else (12, 16, 3)))
        return (np.random.default_rng(1).standard_normal(shape).astype(np.float32),)
    texts = np.array([[3, 1, 4, 1, 5]], np.int32), np.array([[0, 2, 6]], np.int32)
    if name == "whisper":
        return np.random.default_rng(1).standard_normal((1, 8, 3)).astype(np.float32), texts[1]
    return texts if "t5" in name else texts[:1]


def of_transformers(path, name):
    """What transformers computes of a folder, as one flat list."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    given = inputs(name)
    kind = getattr(transformers, json.loads((path / "config.json").read_text())["architectures"][0])
    model = kind.from_pretrained(path, attn_implementation="eager" if "resnet" not in name else None).eval()
    if name == "whisper":
        sound = torch.from_numpy(given[0]).transpose(1, 2)
        found = model(sound, decoder_input_ids=torch.from_numpy(given[1]).long())
    elif given[0].dtype == np.float32:
        found = model(torch.from_numpy(given[0].transpose(0, 3, 1, 2).copy()))
    else:
        texts = [torch.from_numpy(text).long() for text in given]
        found = model(texts[0], decoder_input_ids=texts[1]) if "t5" in name else model(texts[0])
    found = found.get("logits", found.get("pooler_output")) if name != "bert" else found.last_hidden_state
    return found.detach().numpy().ravel()


def outputs(path, name):
    model, variables = (found := pretrained.load_pretrained(path)).model, found.variables
    out = jax.jit(model.apply)(variables, *inputs(name))
    return np.asarray(out[0] if isinstance(out, tuple) else out).ravel()


@every_model
def test_outputs_are_those_of_transformers(name, folder):
    expected = np.array(json.loads(GOLDEN.read_text())[name])
    np.testing.assert_allclose(outputs(folder(name), name), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
@every_model
def test_the_golden_outputs_are_those_of_transformers(name, folder):
    expected = of_transformers(folder(name), name)
    if os.environ.get("JAXLM_WRITE_GOLDEN"):
        stored = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        stored[name] = [float(f"{x:.7g}") for x in expected]
        GOLDEN.write_text(json.dumps(stored, indent=0) + "\n")
    np.testing.assert_allclose(json.loads(GOLDEN.read_text())[name], expected, rtol=1e-5, atol=1e-5)


@every_model
def test_in_and_out_is_the_identity(name, folder, tmp_path):
    path, out = folder(name), tmp_path / "out"
    model, leaves = pretrained.load_pretrained(path)
    out.mkdir()
    pretrained.save_pretrained(out, model, leaves)
    before, after = (dict(tensors.Tensors(at)) for at in (path, out))
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        np.testing.assert_array_equal(after[key], tensor, strict=True)
    again = pretrained.load_pretrained(out)
    assert again.model == model
    for key, leaf in leaves.items():
        np.testing.assert_array_equal(again.leaves[key], leaf, strict=True)


@pytest.mark.parametrize("name", ["t5 1.0", "vit", "resnet basic", "whisper"])
@pytest.mark.parametrize("damage", ["missing", "surplus", "misshapen"])
def test_a_tensor_that_does_not_fit_is_named(name, damage, folder):
    odd = sorted(drawn(MODELS[name]))[2]
    change = {"missing": {odd: None}, "surplus": {"odd.weight": np.ones(2, np.float32)}}
    change["misshapen"] = {odd: np.ones((2, 3, 4, 5, 6), np.float32)}
    with pytest.raises(BadInput) as refusal:
        pretrained.load_pretrained(folder(name, **change[damage]))
    words = {"missing": "has no tensor", "surplus": "has a tensor odd.weight [2]", "misshapen": "is [2, 3, 4, 5, 6] in"}
    assert words[damage] in str(refusal.value)
    assert damage == "surplus" or odd in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("t5 1.0", {"feed_forward_proj": "gated-silu"}, 'feed_forward_proj "gated-silu", which is not supported'),
        ("t5 1.0", {"architectures": ["T5EncoderModel"]}, 'architectures ["T5EncoderModel"]'),
        ("t5 1.0", {"is_encoder_decoder": False}, "is_encoder_decoder false"),
        ("t5 1.0", {"decoder_start_token_id": 5}, "decoder_start_token_id 5"),
        ("t5 1.0", {"d_kv": 0}, "has d_kv 0: it must be a whole number from 1"),
        ("whisper", {"architectures": ["WhisperForAudioClassification"]}, "WhisperForAudioClassification"),
        ("whisper", {"decoder_attention_heads": 4}, "decoder_attention_heads 4, which is not supported: only 2 is"),
        ("whisper", {"scale_embedding": True}, "scale_embedding true"),
        ("whisper", {"activation_function": "relu"}, 'activation_function "relu"'),
        ("vit", {"patch_size": [2, 3]}, "patch_size"),
        ("vit", {"patch_size": 5}, "model.patch 5 does not divide images of 4 x 6"),
        ("vit", {"hidden_act": "swish"}, 'hidden_act "swish"'),
        ("vit encoder", {"pooler_act": "relu"}, 'pooler_act "relu"'),
        ("vit encoder", {"pooler_output_size": 4}, "pooler_output_size 4"),
        ("vit", {"architectures": ["ViTForMaskedImageModeling"]}, "ViTForMaskedImageModeling"),
        ("resnet basic", {"hidden_sizes": [4, 12]}, "hidden_sizes [4, 12], which is not supported: only [4, 8]"),
        ("resnet basic", {"layer_type": "wide"}, 'layer_type "wide"'),
        ("resnet basic", {"downsample_in_bottleneck": True}, "downsample_in_bottleneck true"),
        ("resnet basic", {"num_channels": 1}, "num_channels 1"),
        ("resnet basic", {"depths": [], "hidden_sizes": []}, "model.stages is empty"),
    ],
)
def test_a_config_that_is_not_computed_here_is_refused_in_one_line(name, changes, words, folder):
    path = folder(name)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(BadInput) as refusal:
        pretrained.load_pretrained(path)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (IMAGES.clone(pool="mean"), "model.pool is mean, and vit of transformers has token"),
        (IMAGES.clone(image=None), "model.image is None"),
        (IMAGES.clone(representation=True), "model.representation is True"),
        (MODELS["resnet basic"].clone(stem="small"), "model.stem is small"),
        (MODELS["resnet basic"].clone(norm="group"), "model.norm is group"),
    ],
)
def test_a_model_that_transformers_has_not_is_refused_in_one_line(model, words, tmp_path):
    with pytest.raises(BadInput) as refusal:
        pretrained.save_pretrained(tmp_path, model, {})
    assert words in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_leaves_of_other_shapes_than_the_config_says_are_not_written(tmp_path):
    model = MODELS["resnet basic"]
    leaves = pretrained.leaves_by_path(
        jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))
    )
    with pytest.raises(BadInput, match=r"params/stem/kernel is \[7, 7, 1, 4\], and resnet of transformers has"):
        pretrained.save_pretrained(tmp_path, model, leaves)


@pytest.mark.parametrize("of_version_5", [False, True])
def test_an_untied_t5_is_known_by_what_either_version_of_transformers_writes(of_version_5, folder):
    path = folder("t5 1.1")
    config = json.loads((path / "config.json").read_text())
    assert config["tie_word_embeddings"] is False
    if of_version_5:
        config |= {"tie_word_embeddings": True, "scale_decoder_outputs": False}
    (path / "config.json").write_text(json.dumps(config))
    assert not pretrained.load_pretrained(path).model.tied


def test_copies_and_unused_tensors_of_early_t5_files_are_read(folder):
    table = drawn(FIRST)["shared.weight"]
    unused = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": np.ones((4, 2), np.float32)}
    copies = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
    path = folder("t5 1.0", **unused, **dict.fromkeys(copies, table))
    assert len(pretrained.load_pretrained(path).leaves) == len(drawn(FIRST))


def test_a_vit_without_its_pooler_is_an_encoder_alone(folder):
    path = folder("vit encoder", **{"pooler.dense.weight": None, "pooler.dense.bias": None})
    model, leaves = pretrained.load_pretrained(path)
    assert model == MODELS["vit encoder"].clone(representation=False)
    assert not any("pre_head" in name for name in leaves)
