"""Folders that are damaged or made to harm: every one is refused in one line, soon, and without much memory."""

import contextlib
import json
import os

import jax
import numpy as np
import pytest

from jaxlm.errors import BadInput
from jaxlm.hub import pretrained, tensors
from jaxlm.hub.json_file import load_json
from jaxlm.hub.peft import load_adapters, save_adapters
from jaxlm.models.bert import BERT
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier
from jaxlm.models.resnet import ResNet
from jaxlm.models.t5 import T5
from jaxlm.models.vit import ViT
from jaxlm.models.whisper import Whisper
from jaxlm.nn.lora import LoRA

GPT2 = GPT(vocab=7, depth=1, width=8, heads=2, context=6)
LLAMA = GPT(7, 1, 8, 2, 6, 1, "rms", activation="swiglu", positions="rotary", hidden=12, bias=False, tied=False)
MODELS = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "mistral": LLAMA.clone(window=3),
    "qwen2": LLAMA.clone(attention_bias="qkv"),
    "bert": Classifier(BERT(vocab=7, depth=1, width=8, heads=2, context=6), 3, pool="pooler"),
    "t5": T5(vocab=7, depth=1, width=8, heads=2, hidden=12, head_width=3, buckets=4, reach=5),
    "vit": ViT(3, patch=2, depth=1, width=8, heads=2, hidden=12, image=(4, 6, 3), activation="gelu_exact"),
    "resnet": ResNet(3, (1, 1), width=4),
    "whisper": Whisper(vocab=7, depth=1, width=8, heads=2, bands=4, source_context=3, context=5),
}
ODD = [10**7, 2**31 - 1, 10**40, -1, 0, 1.5, 1e308, True, None, "x", [], {}, [3, "a"], {"0": "a"}, "\ud800", [[[]]]]
DEEP = 20_000
MUTATIONS = int(os.environ.get("JAXLM_MUTATIONS", "300"))  # of each file


def write(folder, model):
    """Write a model with weights of zero."""
    shapes = pretrained.shapes(pretrained.family_of_model(model), model)
    pretrained.save_pretrained(folder, model, {path: np.zeros(x.shape, np.float32) for path, x in shapes.items()})
    return folder / "config.json"


def refused(read, *arguments):
    with pytest.raises(BadInput) as refusal:
        read(*arguments)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("gpt2", "n_layer"),
        ("llama", "num_hidden_layers"),
        ("bert", "num_hidden_layers"),
        ("t5", "num_decoder_layers"),
        ("whisper", "encoder_layers"),
    ],
)
@pytest.mark.parametrize("layers", [2, 30, 10**7])
def test_more_layers_than_there_are_weights_are_refused_before_a_module_is_traced(name, option, layers, tmp_path):
    path = write(tmp_path, MODELS[name])
    path.write_text(json.dumps(json.loads(path.read_text()) | {option: layers}))
    assert "it is of another model" in (told := refused(pretrained.read_model, tmp_path)) or "more layers than" in told


def test_more_stages_of_layers_than_there_are_weights_are_refused(tmp_path):
    path = write(tmp_path, MODELS["resnet"])
    path.write_text(json.dumps(json.loads(path.read_text()) | {"depths": [1, 10**9]}))
    assert "has depths [1, 1000000000], more layers than the" in refused(pretrained.read_model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_no_option_of_a_wrong_type_or_size_is_a_traceback(name, tmp_path):
    path = write(tmp_path, MODELS[name])
    config = json.loads(path.read_text())
    for option in sorted(config):
        for value in ODD:
            path.write_text(json.dumps(config | {option: value}))
            with contextlib.suppress(BadInput):
                pretrained.load_pretrained(tmp_path)


@pytest.mark.parametrize("text", ["[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP], ids=["lists", "objects"])
def test_json_nested_deeper_than_the_parser_can_follow_is_refused(text, tmp_path):
    tensors.save_tensors(tmp_path, {"a": np.zeros(2, np.float32)})
    (tmp_path / "config.json").write_text(text)
    assert "config.json cannot be read (nested too deep)" in refused(pretrained.load_pretrained, tmp_path)
    (tmp_path / "adapter_config.json").write_text(text)
    assert "(nested too deep)" in refused(load_adapters, tmp_path, GPT2)
    (tmp_path / tensors.INDEX).write_text(text)
    assert "is not an index of safetensors (nested too deep)" in refused(tensors.Tensors, tmp_path)


def test_numbers_that_are_not_json_and_bytes_that_are_not_utf_8_are_refused(tmp_path):
    path = write(tmp_path, GPT2)
    for content, words in [
        (b'{"layer_norm_epsilon": NaN}', "NaN is not JSON"),
        (b"\xff{}", "can't decode byte 0xff"),
        (b'{"n_layer": 1, "n_layer": 2}', "n_layer is named twice"),
        (b'{"n_layer": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    ]:
        path.write_bytes(content)
        assert words in refused(pretrained.load_pretrained, tmp_path)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_file_that_is_a_device_is_not_read(name, device, tmp_path):
    write(tmp_path, GPT2)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(device)
    refused(pretrained.load_pretrained, tmp_path)
    refused(tensors.Tensors, tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    assert "not a regular file" in refused(pretrained.load_pretrained, tmp_path)
    os.mkfifo(tmp_path / "x.safetensors")
    assert "not a regular file" in refused(tensors.Tensors, tmp_path / "x.safetensors")


def test_a_file_larger_than_any_config_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10**12)  # sparse
    with pytest.raises(ValueError, match="larger than 100,000,000 bytes"):
        load_json(tmp_path / "config.json")


def mutated(content, draw):
    """Change, remove, repeat or insert a few bytes, numbers and brackets of a file."""
    text = bytearray(content)
    for _ in range(draw.integers(1, 4)):
        at = int(draw.integers(0, len(text) + 1))
        size = int(draw.integers(1, 9))
        new = [
            draw.bytes(size),
            b"",
            bytes(text[at : at + size]) * int(draw.integers(2, 50)),
            str(int(draw.choice([0, -1, 2**31, 2**63, 10**20]) if size < 5 else 10 ** int(size))).encode(),
            bytes(draw.choice([b"{", b"}", b"[", b"]", b'"', b"null", b"1e999", b"NaN", b"true", b"\\ud800"])),
        ][draw.integers(0, 5)]
        text[at : at + (size if draw.random() < 0.7 else 0)] = new
    return bytes(text[: int(draw.integers(0, len(text) + 1))] if draw.random() < 0.05 else text)


@pytest.mark.slow
def test_mutated_indexes_are_read_or_refused_in_one_line(tmp_path):
    write(tmp_path, MODELS["bert"])
    tensors.save_tensors(tmp_path, dict(tensors.Tensors(tmp_path)), 1)
    (tmp_path / tensors.FILE).unlink()
    index = tmp_path / tensors.INDEX
    whole, draw, refusals = index.read_bytes(), np.random.default_rng(0), 0
    for _ in range(MUTATIONS):
        index.write_bytes(mutated(whole, draw))
        try:
            pretrained.load_pretrained(tmp_path)
        except BadInput as error:
            refusals += "\n" not in str(error)
    assert refusals > MUTATIONS / 2


@pytest.mark.slow
def test_mutated_adapters_are_read_or_refused_in_one_line(tmp_path):
    lora = LoRA(rank=2, alpha=4.0, pattern="qkv")
    adapters = {"block_0": {"attention": {"qkv": {"kernel": {"lora_a": np.ones((8, 2)), "lora_b": np.ones((2, 24))}}}}}
    save_adapters(tmp_path, GPT2, lora, jax.tree.map(np.float32, adapters))
    whole, draw = (tmp_path / "adapter_config.json").read_bytes(), np.random.default_rng(0)
    for _ in range(MUTATIONS):
        (tmp_path / "adapter_config.json").write_bytes(mutated(whole, draw))
        with contextlib.suppress(BadInput):
            load_adapters(tmp_path, GPT2)
