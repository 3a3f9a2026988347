"""Every config, shrunk, runs for real through its experiment's own `main`, and its first 20 losses do not move.

The golden losses stand in tests/golden. A refactor must not move them; a change that means to writes them anew:

    JAXLM_WRITE_GOLDEN=1 python3 scripts/env.py --extras dev pytest tests/test_configs.py
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from jaxlm.train.run_directory import RunDirectory
from whole_path import ROOT, SHORT, losses, run_main, shrunk, write_arrays, write_conll2003, write_folder

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
NEEDS_TFDS = [
    path.stem for path in CONFIGS if "TfdsText(" in path.read_text() or path.stem.endswith(("_sst2", "_mnist"))
]
LANGUAGE = {
    "gpt_stdlib": shrunk(),
    "gpt_shakespeare_char": [*shrunk(None), "--run.patience", "9"],
    "gpt_shakespeare_char_cpu": [*shrunk(None), "--data.eval-batch", "16"],
    "gpt2_124m": [*shrunk(None), "BPE", "--run.accumulate", "2", "--data.eval-batch", "8"],
    "llama_1b": [*shrunk(None), "BPE", "--model.kv-heads", "1", "--model.hidden", "32", "--run.accumulate", "2"],
    "llama_stories": [*shrunk(None), "BPE", "--model.kv-heads", "1", "--model.hidden", "32", "--data.eval-batch", "8"],
}
MNIST = "--data.train-split train[:600] --data.eval-split test[:200] --data.batch 32 --data.eval-batch 100"
ARRAYS = "--data.arrays ARRAYS --data.batch 64 --data.eval-batch 40"
IMAGES = {
    "cnn_digits": "--model.widths 4 8 --model.hidden 16",
    "mlp_mnist": f"{MNIST} --model.hidden 16 --run.accumulate 2",
    "cnn_mnist": f"{MNIST} --model.widths 2 4 --model.hidden 16",
    "resnet20_cifar10": f"{ARRAYS} --model.stages 1 1 --model.width 8 --model.no-zero-residual",
    "resnet20_cifar10_crops": f"{ARRAYS} --data.augment.0.size 12 --model.stages 1 1 --model.width 8 "
    "--model.no-zero-residual",
    "resnet18_cifar10": f"{ARRAYS} --model.stages 1 1 --model.width 8 --model.no-zero-residual",
    "vit_cifar10": f"{ARRAYS} --model.depth 1 --model.width 16 --model.heads 2",
    "resnet50_imagenet": f"{ARRAYS} --model.stages 1 1 --model.width 8 --model.no-zero-residual --model.classes 10 "
    "--run.workers 0",
    "inception_imagenet": "--data.arrays ARRAYS --data.batch 8 --data.eval-batch 20 --run.workers 0 "
    "--model.classes 10 --model.width 1 --model.grid-35 1 --model.grid-17 1 --model.grid-8 1 --model.dropout 0 "
    "--optim.peak 0.01",
    "vit_s16_imagenet": f"{ARRAYS} --model.depth 1 --model.width 16 --model.heads 2 --model.classes 10 --run.workers 0",
    "resnet18_folder": "--data.path FOLDER --data.size 16 --data.batch 64 --model.stages 1 1 1 1 --model.width 8 "
    "--model.no-zero-residual --model.classes 10 --optim.peak 0.1",
    "resnet56_hymenoptera": "--data.path FOLDER --data.batch 64 --data.size 16 --data.eval-batch 40 "
    "--model.stages 1 1 1 --model.classes 10 --model.width 8 --model.no-zero-residual --optim.peak 0.1",
}

TINY_LLAMA = "--model.base.depth 1 --model.base.width 16 --model.base.heads 2 --model.base.context 96 "
TINY_LLAMA += "--model.base.vocab 300 --data.length 96 --data.batch 4 --data.overlong cut"
TALKS = {
    "llama_stories_lora": f"{TINY_LLAMA} --model.base.kv-heads 1 --model.base.hidden 32",
    "llama_stories_dpo": f"{TINY_LLAMA} --model.base.kv-heads 1 --model.base.hidden 32",
    "gpt2_lora_chat": TINY_LLAMA,
}
MASKED = {
    "bert_tiny_mlm": "--model.encoder.vocab 300 --model.encoder.depth 1 --model.encoder.width 16 "
    "--model.encoder.context 16 --data.text.tokenizer.size 300 --data.text.length 16 --data.text.eval-split validation "
    "--optim.peak 1e-2",
}
TINY_BERT = "--model.encoder.depth 1 --model.encoder.width 16 --model.encoder.heads 2 --data.widths 16 64"
TINY_BERT += " --data.batch 8 --data.eval-batch 20 --optim.peak 3e-2"
TEXTS = {
    "minilm_sst2": f"{TINY_BERT} --data.train-split train[:16] --data.eval-split validation[:40]",
    "bert_base_sst2": f"{TINY_BERT} --data.train-split train[:16] --data.eval-split validation[:40]",
}
LSTMS = "--model.encoder.width 8 --model.encoder.dropout 0.1 --model.dropout 0.1 --data.widths 16 64 --data.batch 8"
LSTMS += " --data.eval-batch 20 --optim.peak 3e-2"
TEXTS["lstm_sst2"] = f"{LSTMS} --data.train-split train[:16] --data.eval-split validation[:40]"
TEXTS["lstm_trec"] = f"{LSTMS} --model.classes 2"
TAGS = {"minilm_uner": TINY_BERT, "bert_base_conll2003": f"{TINY_BERT} --model.classes 5"}
EXPERIMENTS = {
    **dict.fromkeys(TEXTS, "text_classification.py"),
    **dict.fromkeys(TAGS, "token_classification.py"),
    **dict.fromkeys(IMAGES, "image_classification.py"),
    **dict.fromkeys(TALKS, "instruction_tuning.py"),
    **dict.fromkeys(MASKED, "masked_language_model.py"),
    "llama_stories_dpo": "preference_tuning.py",
}

SLOW = (
    "cnn_mnist",
    "gpt_shakespeare_char_cpu",
    "resnet18_folder",
    "resnet20_cifar10_crops",
    "resnet50_imagenet",
    "resnet56_hymenoptera",
    "inception_imagenet",
    "llama_stories",
    "vit_s16_imagenet",
    "resnet18_cifar10",
    "vit_cifar10",
    "llama_1b",
    "gpt2_124m",
    "gpt_shakespeare_char",
    "gpt2_lora_chat",
    "minilm_sst2",
    "bert_base_sst2",
    "lstm_sst2",
    "bert_base_conll2003",
)

# Batch norm in deep networks amplifies the rounding of another compiler or chip from update to update.
AMPLIFIED = ("inception_imagenet", "resnet50_imagenet", "resnet56_hymenoptera", "cnn_mnist", "resnet20_cifar10")
AMPLIFIED += ("resnet20_cifar10_crops",)


def language_words(name, tmp_path):
    """The words that shrink a config; large corpora and their tokenizers are exchanged for small real ones."""
    if name in MASKED:
        return [*MASKED[name].split(), *SHORT]
    words = LANGUAGE[name]
    if "BPE" not in words:
        return words
    rest = [word for word in words if word != "BPE"]
    data = ["--data.name", "tiny_shakespeare", "--data.eval-split", "validation"]
    return [*rest, *data, "--data.tokenizer.path", train_tokenizer(tmp_path), "--model.vocab", "300"]


def train_tokenizer(tmp_path):
    """The path of a small tokenizer.json."""
    path = tmp_path / "tokenizer.json"
    script = [sys.executable, str(ROOT / "scripts" / "train_tokenizer.py"), str(ROOT / "LICENSE")]
    subprocess.run([*script, "--vocab", "300", "--out", str(path)], check=True, capture_output=True)
    return str(path)


def talk_words(name, tmp_path):
    """The words that shrink a config; its conversations are about what stands in the first lines of the licence."""
    path = tmp_path / "talks.jsonl"
    lines = [line.strip() for line in (ROOT / "LICENSE").read_text().splitlines() if line.strip()][:24]
    with path.open("w") as file:
        for line in lines:
            question = {"role": "user", "content": line[:40]}
            answers = {"chosen": "short" if len(line) < 50 else "long", "rejected": "neither"}
            messages = [question] if "dpo" in name else [question, {"role": "assistant", "content": answers["chosen"]}]
            file.write(json.dumps({"messages": messages, **answers}) + "\n")
    data = ["--data.path", str(path), "--data.eval-path", str(path), "--data.tokenizer.path", train_tokenizer(tmp_path)]
    return [*TALKS[name].split(), *SHORT, *data, "--data.template", "plain"]


def text_words(name, tmp_path):
    """The words that shrink a config, with a tokenizer of single letters, or words of the text where it has those."""
    if name == "lstm_trec":
        lines = [line.split() for line in (ROOT / "LICENSE").read_text().splitlines() if len(line.split()) > 4]
        questions = [f"{'HUM' if len(line) < 11 else 'LOC'}:x {' '.join(line)}" for line in lines[:100]]
        for file in ("train_5500.label", "TREC_10.label"):
            (tmp_path / file).write_text("\n".join(questions) + "\n")
        return [*TEXTS[name].split(), *SHORT, "--data.folder", str(tmp_path)]
    if name == "lstm_sst2":
        return [*TEXTS[name].split(), *SHORT]
    return [*{**TEXTS, **TAGS}[name].split(), *SHORT, *write_letters(tmp_path)]


def write_letters(folder):
    """Write the vocabulary of letters, and return the words that name it."""
    letters = [chr(point) for point in range(33, 127)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(pieces))
    path = ["--data.tokenizer.path", str(folder / "vocab.txt"), "--data.tokenizer.lower", "True"]
    return [*path, "--model.encoder.vocab", str(len(pieces))]


def tag_words(name, tmp_path, monkeypatch):
    """The words that shrink a config; entities are the words of a text that begin with a capital letter."""
    words = [word for word in (ROOT / "LICENSE").read_text().split() if word.isalpha()]
    sentences = [words[start : start + 8] for start in range(0, 1600, 8)]
    tags = [["B-LOC" if word.isupper() else "B-PER" if word[0].isupper() else "O" for word in s] for s in sentences]
    if name == "bert_base_conll2003":
        write_conll2003(tmp_path, sentences, tags)
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        return text_words(name, tmp_path)
    rows = [
        "\n".join(f"1\t{word}\t{tag}" for word, tag in zip(*pair, strict=True))
        for pair in zip(sentences, tags, strict=True)
    ]
    for file in ("en_ewt-ud-train.iob2", "en_ewt-ud-test.iob2"):
        (tmp_path / file).write_text("\n\n".join(rows) + "\n")
    return [
        *text_words(name, tmp_path),
        "--data.folder",
        str(tmp_path),
        "--data.types",
        "LOC",
        "PER",
        "--model.classes",
        "5",
    ]


def image_words(name, tmp_path):
    """The words that shrink a config; pictures that are not at hand are exchanged for scikit-learn's real digits."""
    words = IMAGES[name]
    if "ARRAYS" in words:
        write_arrays(tmp_path, 75 if name.startswith("inception") else 16)
    if "FOLDER" in words:
        write_folder(tmp_path)
    return [*words.replace("ARRAYS", str(tmp_path)).replace("FOLDER", str(tmp_path)).split(), *SHORT]


def words_of(name, tmp_path, monkeypatch):
    """The words that shrink a config of whatever kind."""
    if name in TAGS:
        return tag_words(name, tmp_path, monkeypatch)
    kinds = ((IMAGES, image_words), (TALKS, talk_words), (TEXTS, text_words))
    return next((words for kind, words in kinds if name in kind), language_words)(name, tmp_path)


def config_or_slow(path):
    return pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in SLOW else ())


@pytest.mark.parametrize("path", [config_or_slow(path) for path in CONFIGS])
def test_a_shrunk_config_trains_and_repeats_its_golden_losses(path, tmp_path, monkeypatch):
    if path.stem in NEEDS_TFDS and not os.environ.get("TFDS_DATA_DIR"):
        pytest.skip("TFDS_DATA_DIR is not set: no prepared TFDS data on this machine")
    words = words_of(path.stem, tmp_path, monkeypatch)
    experiment = EXPERIMENTS.get(path.stem, "language_model.py")
    run_main(monkeypatch, experiment, path, *words, "--run.directory", str(tmp_path / "run"))
    found = losses(tmp_path / "run")
    assert len(found) == 20
    if path.stem != "inception_imagenet":  # 94 layers on eight images: 20 updates show no trend
        assert sum(found[-5:]) < sum(found[:5])
    fingerprint = RunDirectory(tmp_path / "run").lineage()["sessions"][-1]["fingerprint"]
    golden = ROOT / "tests" / "golden" / f"{path.stem}.json"
    if os.environ.get("JAXLM_WRITE_GOLDEN"):
        golden.write_text(json.dumps({"fingerprint": fingerprint, "losses": found}, indent=1) + "\n")
    stored = json.loads(golden.read_text())
    if stored["fingerprint"] == fingerprint:
        assert found == stored["losses"]
    elif path.stem in AMPLIFIED:
        np.testing.assert_allclose(found[:2], stored["losses"][:2], rtol=1e-2)
    else:
        np.testing.assert_allclose(found, stored["losses"], rtol=1e-3 if path.stem in IMAGES else 1e-5)
