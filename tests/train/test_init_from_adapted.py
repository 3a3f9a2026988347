"""Pretrained weights under adapters: what a run takes for its frozen base, and what a run of adapters gives."""

import json
import sys

import jax
import numpy as np
import pytest

from jaxlm import cli, steps
from jaxlm.hub import peft, pretrained
from jaxlm.hub.transfer import unrolled
from jaxlm.models.adapted import Adapted
from jaxlm.models.gpt import GPT
from jaxlm.nn.lora import LoRA
from jaxlm.nn.quantise import dequantise, quantise
from jaxlm.optim import AdamW
from jaxlm.runs.checkpoint import Checkpoints
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.weights import load_into
from jaxlm.train.init_from import InitFrom
from shrunk_texts import talk_words
from whole_path import ROOT, losses, run_main

BASE = GPT(vocab=11, depth=1, width=64, heads=2, context=8, dropout=0.1)
TX = AdamW(warmup=0)(10)
TOKENS = np.zeros((1, 4), np.int32)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder in Hugging Face's layout, and its parameters."""
    folder = tmp_path_factory.mktemp("gpt2")
    params = jax.jit(BASE.init)(jax.random.key(5), TOKENS)["params"]
    pretrained.save_pretrained(folder, BASE, pretrained.leaves_by_path({"params": params}))
    return folder, params


def begun(model, folder):
    def init(key):
        return steps.init(model, TX, TOKENS, key, ema=True)

    leaves = InitFrom(path=str(folder)).load(jax.eval_shape(init, jax.random.key(0)), model).arrays
    return load_into(jax.jit(init)(jax.random.key(0)), leaves)


ADAPTERS = {"dora": LoRA(rank=2, dora=True), "full": LoRA(rank=0, full=".")}


@pytest.mark.parametrize("name", ["dora", pytest.param("full", marks=pytest.mark.slow)])
def test_a_run_with_adapters_begins_as_the_pretrained_model(name, source):
    folder, params = source
    model = Adapted(BASE, ADAPTERS[name])
    state = begun(model, folder)
    jax.tree.map(np.testing.assert_array_equal, state.variables["base"], params)
    merged = model.merged({"params": state.params, **state.variables})["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), merged, params)
    averaged = model.merged(state.ema)["params"]
    jax.tree.map(np.testing.assert_array_equal, averaged, merged)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_base_is_the_pretrained_model_quantised(bits, source):
    folder, params = source
    state = begun(Adapted(BASE, LoRA(rank=2), bits), folder)
    expected = dequantise(quantise(params, bits))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), dequantise(state.variables["base"]), expected
    )


@pytest.mark.slow
def test_preferences_begin_at_the_merged_weights_of_a_tuned_run(monkeypatch, tmp_path):
    words = {}
    for name in ("llama_stories_lora", "llama_stories_dpo"):
        (tmp_path / name).mkdir()
        words[name] = talk_words(name, tmp_path / name)
    tuned, preferred = tmp_path / "tuned", tmp_path / "preferred"
    chat, pairs = ROOT / "configs" / "llama_stories_lora.py", ROOT / "configs" / "llama_stories_dpo.py"
    run_main(monkeypatch, "instruction_tuning.py", chat, *words[chat.stem], "--run.directory", str(tuned))
    start = ["--init.path", str(tuned), "--optim.warmup", "0", "--run.directory", str(preferred)]
    run_main(monkeypatch, "preference_tuning.py", pairs, *words[pairs.stem], *start)
    assert losses(preferred)[0] == pytest.approx(np.log(2), rel=1e-5)
    model = RunDirectory(tuned).config().model
    merged = model.merged(evaluated_at_the_end(tuned))["params"]
    found = evaluated_at_the_end(preferred)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), found["base"], merged)
    assert json.loads((preferred / "metrics.jsonl").read_text().splitlines()[-1])["eval/loss"] < np.log(2)


def exported(capsys, *words):
    """What `jaxlm export WORDS` prints."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["jaxlm", "export", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    found = capsys.readouterr()
    assert stop.value.code == (2 if found.err else 0)
    return found.err or found.out


@pytest.mark.slow
@pytest.mark.parametrize("scan", [False, True])
def test_a_tuned_run_is_exported_merged_or_as_adapters_alone(scan, monkeypatch, capsys, tmp_path):
    words = talk_words("llama_stories_lora", tmp_path)
    words += ["--model.lora.pattern", "kernel$", *(["--model.base.scan"] if scan else [])]
    config = ROOT / "configs" / "llama_stories_lora.py"
    run_main(monkeypatch, "instruction_tuning.py", config, *words, "--run.directory", str(tmp_path / "run"))
    assert "arrays of adapters written" in exported(capsys, tmp_path / "run", tmp_path / "peft", "--to", "peft")
    assert "arrays written" in exported(capsys, tmp_path / "run", tmp_path / "hf", "--to", "hf")
    model, leaves = pretrained.load_pretrained(tmp_path / "hf")
    lora, adapters = peft.load_adapters(tmp_path / "peft", model)
    variables = evaluated_at_the_end(tmp_path / "run")
    base = {"params": variables["base"]}
    base = pretrained.tree_from_leaves(
        unrolled(pretrained.leaves_by_path(base)) if scan else pretrained.leaves_by_path(base)
    )["params"]
    merged = pretrained.leaves_by_path({"params": lora.merge(base, adapters)})
    assert merged.keys() == leaves.keys()
    for path, leaf in leaves.items():
        np.testing.assert_allclose(merged[path], leaf, atol=1e-6, err_msg=path)
    assert any(np.abs(merged[f"params/{path}"] - leaf).max() > 1e-4 for path, leaf in _kernels(base))
    assert "not an empty folder" in exported(capsys, tmp_path / "run", tmp_path / "peft", "--to", "peft")


def _kernels(params):
    found = pretrained.leaves_by_path(params)
    return [(path, leaf) for path, leaf in found.items() if path.endswith("kernel")]


def evaluated_at_the_end(directory):
    """The variables of a run's last checkpoint."""
    checkpoints = Checkpoints(RunDirectory(directory).checkpoints)
    state = checkpoints.restore_raw(checkpoints.steps()[-1])
    return {"params": state["params"], **state["variables"]}
