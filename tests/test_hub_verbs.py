"""`jaxlm import` and `jaxlm export`: a folder in Hugging Face's layout becomes a run, and a run such a folder."""

import json
import os
import re
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from jaxlm import cli
from jaxlm.hub import pretrained, tensors
from jaxlm.models.bert import BERT
from jaxlm.models.gpt import GPT
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.weights import read_leaves
from jaxlm.train.config import load_config
from whole_path import ROOT, TEXT, run_main, shrunk

MODEL = GPT(300, 1, 16, 2, 24, 1, "rms", activation="swiglu", positions="rotary", hidden=24, bias=False, tied=False)
MODEL = MODEL.clone(attention_bias="none", eps=1e-3, rotary_base=500.0)
ON_A_TEXT = ("--data.path", str(TEXT), "--data.eval-fraction", "0.1", "--data.batch", "8")
LANGUAGE = ("--experiment", str(ROOT / "experiments" / "language_model.py"))


def write_model(folder, model):
    """A folder with random weights of a model; returns its leaves."""
    shapes = pretrained.shapes(pretrained.family_of_model(model), model)
    draw = np.random.default_rng(3)
    leaves = {path: 0.2 * draw.normal(size=leaf.shape).astype(np.float32) for path, leaf in shapes.items()}
    folder.mkdir(exist_ok=True)
    pretrained.save_pretrained(folder, model, leaves)
    return leaves


def write_tokenizer(folder, size=300):
    """A tokenizer.json of bytes and their commonest pairs, with a token for the end of a text."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    inner.train([str(TEXT)], trainer)
    inner.save(str(folder / "tokenizer.json"))


def command(*words):
    """Run a command line in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(sys, "argv", ["jaxlm", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return stop.value.code


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A folder with weights and a tokenizer, the leaves in it, and the run that was made of it."""
    home = tmp_path_factory.mktemp("hub")
    leaves = write_model(home / "theirs", MODEL)
    write_tokenizer(home / "theirs")
    assert command("import", home / "theirs", *LANGUAGE, "--directory", home / "run", *ON_A_TEXT) == 0
    return home / "theirs", leaves, home / "run"


@pytest.fixture
def told(capsys):
    """Run a command line: (exit code, output, error)."""

    def call(*words):
        capsys.readouterr()
        code = command(*words)
        return code, *capsys.readouterr()

    return call


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        np.testing.assert_array_equal(found[path], leaf, err_msg=path, strict=True)


def test_the_run_holds_the_model_and_every_weight(imported):
    _, leaves, run = imported
    assert RunDirectory(run).config().model == MODEL
    assert_same(read_leaves(str(run), 0), leaves)


def test_the_run_can_be_looked_at_evaluated_and_sampled_from(imported, told):
    _, _, run = imported
    code, out, _ = told("info", run)
    assert code == 0
    assert f"{MODEL.parameter_count():,}" in out
    (record,) = RunDirectory(run).metrics()
    code, out, _ = told("eval", run)
    assert code == 0
    assert f"eval/loss {record['eval/loss']:.6g} (update 0)" in out
    code, out, _ = told("sample", run, "--prompt", "You may", "--length", 9)
    assert code == 0
    assert out.startswith("You may")


def test_out_again_is_what_came_in(imported, told, tmp_path):
    folder, _, run = imported
    code, out, _ = told("export", run, "--to", "hf", tmp_path / "out")
    assert code == 0
    before, after = tensors.Tensors(folder), tensors.Tensors(tmp_path / "out")
    assert f"{len(read_leaves(str(run), 0))} arrays written to {tmp_path / 'out'}" in out
    assert_same(dict(after), dict(before))
    one, other = (json.loads((path / "config.json").read_text()) for path in (folder, tmp_path / "out"))
    assert other == one | {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None}
    assert (tmp_path / "out" / "tokenizer.json").read_text() == (folder / "tokenizer.json").read_text()
    described = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert described["eos_token"] == "<|endoftext|>"
    assert described["model_input_names"] == [
        "input_ids",
        "attention_mask",
    ]  # the model of transformers takes no others
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.slow
def test_the_config_beside_the_run_trains_on_from_the_folder(imported, tmp_path, monkeypatch, capsys):
    folder, leaves, run = imported
    assert load_config(run / "fine_tune.py") == RunDirectory(run).config()
    words = "--run.steps 2 --optim.warmup 1 --run.log-every 1 --optim.peak-lr 1e-9 --optim.weight-decay 0".split()
    run_main(monkeypatch, "language_model.py", run / "fine_tune.py", *words, "--run.directory", str(tmp_path / "run"))
    assert f"{len(leaves)} arrays loaded from {folder}" in capsys.readouterr().out
    for path, leaf in read_leaves(str(tmp_path / "run"), 2).items():
        np.testing.assert_allclose(leaf, leaves[path], atol=1e-7, err_msg=path)


@pytest.mark.slow
def test_a_run_of_stacked_layers_and_of_bytes_is_written_unstacked_with_its_average(tmp_path, monkeypatch, told):
    words = (
        *shrunk(),
        "--model.scan",
        "--model.depth",
        "2",
        "--run.ema",
        "0.5",
        "--run.directory",
        str(tmp_path / "run"),
    )
    run_main(monkeypatch, "language_model.py", ROOT / "configs" / "gpt_stdlib.py", *words)
    code, out, _ = told("export", tmp_path / "run", "--to", "hf", tmp_path / "out")
    assert code == 0
    assert "its tokenizer has no form that transformers knows" in out
    average = read_leaves(str(tmp_path / "run"), None)
    found = pretrained.load_pretrained(tmp_path / "out")
    assert found.model == RunDirectory(tmp_path / "run").config().model.clone(scan=False)
    for layer in (0, 1):
        name = "attention/qkv/kernel"
        np.testing.assert_array_equal(
            found.leaves[f"params/block_{layer}/{name}"], np.asarray(average[f"params/blocks/{name}"])[layer]
        )


def test_what_cannot_be_imported_is_told_in_one_line_and_nothing_is_written(imported, told, tmp_path, monkeypatch):
    folder, _, _ = imported
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "bare", MODEL)
    write_model(tmp_path / "small", MODEL.clone(vocab=280))
    write_tokenizer(tmp_path / "small")
    write_model(tmp_path / "bert", BERT(vocab=11, depth=1, width=8, heads=2, context=12))
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (tmp_path / "pickle" / "config.json").write_text((folder / "config.json").read_text())
    before = sorted(os.listdir(tmp_path))
    for source, words, expected in [
        ("no where", LANGUAGE, "there is no folder no where: give one that holds config.json"),
        ("bare", LANGUAGE, "bare holds none of tokenizer.json"),
        ("small", LANGUAGE, "the tokenizer has 300 tokens and the model's vocabulary 280"),
        ("bert", LANGUAGE, "bert holds a BERT, which needs data of its task: give a config of it with --config"),
        (
            "pickle",
            (*LANGUAGE, "--tokenizer", folder),
            "pytorch_model.bin is a pickle, and reading a pickle can run any code",
        ),
        (
            folder,
            ("--experiment", "nowhere"),
            "there is no experiment file nowhere: `jaxlm list` names the experiments",
        ),
        (folder, (*LANGUAGE, "--config", "gone.py"), "there is no config file gone.py"),
    ]:
        code, _, error = told("import", source, *words, *ON_A_TEXT)
        assert code == 2
        assert re.fullmatch(r"error: [^\n]+\n", error), error
        assert expected in error
        assert sorted(os.listdir(tmp_path)) == before


def test_what_cannot_be_exported_is_told_in_one_line_and_nothing_is_written(imported, told, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for run, out, expected in [
        (tmp_path, "out", "is not a run directory"),
        (imported[2], "full", "full is there and not an empty folder: give another one"),
    ]:
        code, _, error = told("export", run, "--to", "hf", tmp_path / out)
        assert code == 2
        assert re.fullmatch(r"error: [^\n]+\n", error), error
        assert expected in error
        assert sorted(os.listdir(tmp_path)) == ["full"]


def test_a_name_is_asked_of_the_hub_and_what_comes_of_it_is_one_line(told, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def fail(name, **options):
        asked.append((name, options["allow_patterns"]))
        raise ConnectionError("no route to the hub\nand a second line")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    code, _, error = told("import", "someone/a-model", *LANGUAGE)
    assert code == 2
    assert error.splitlines() == [
        "error: there is no folder someone/a-model, and no model of that name could be fetched from the hub "
        "(ConnectionError: no route to the hub)"
    ]
    assert asked[0][0] == "someone/a-model"
    assert not any("bin" in pattern or "py" in pattern for pattern in asked[0][1])
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, _, error = told("import", "someone/a-model", *LANGUAGE)
    assert code == 2
    assert "which is not installed: pip install huggingface_hub" in error


@pytest.mark.slow
def test_transformers_loads_what_was_exported_and_computes_the_same(imported, told, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder, _, run = imported
    assert told("export", run, "--to", "hf", tmp_path / "out")[0] == 0
    ours, theirs = (transformers.AutoModelForCausalLM.from_pretrained(path) for path in (tmp_path / "out", folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    inputs = tokenizer("You may obtain a copy", return_tensors="pt")
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert torch.equal(ours(**inputs).logits, theirs(**inputs).logits)
    assert tokenizer.decode(inputs["input_ids"][0]) == "You may obtain a copy"
