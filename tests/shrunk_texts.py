"""Words that shrink the configs of texts, and small texts in the forms that they read."""

import gzip
import json
import subprocess
import sys

from whole_path import ROOT, SHORT, shrunk, write_conll2003

LANGUAGE = {
    "gpt_stdlib": shrunk(),
    "gpt_shakespeare_char": [*shrunk(None), "--run.patience", "9"],
    "gpt_shakespeare_char_cpu": [*shrunk(None), "--data.eval-batch", "16"],
    "gpt2_124m": [*shrunk(None), "BPE", "--run.accumulate", "2", "--data.eval-batch", "8"],
    "llama_1b": [*shrunk(None), "BPE", "--model.kv-heads", "1", "--model.hidden", "32", "--run.accumulate", "2"],
    "llama_stories": [*shrunk(None), "BPE", "--model.kv-heads", "1", "--model.hidden", "32", "--data.eval-batch", "8"],
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
    "--optim.peak-lr 1e-2",
}
TINY_BERT = "--model.encoder.depth 1 --model.encoder.width 16 --model.encoder.heads 2 --data.widths 16 64"
TINY_BERT += " --data.batch 8 --data.eval-batch 20 --optim.peak-lr 3e-2"
TEXTS = {
    "minilm_sst2": f"{TINY_BERT} --data.train-split train[:16] --data.eval-split validation[:40]",
    "bert_base_sst2": f"{TINY_BERT} --data.train-split train[:16] --data.eval-split validation[:40]",
}
TEXTS["dp_minilm_sst2"] = TINY_BERT.replace("model.encoder", "model.base.encoder").replace("--data.widths 16 64", "")
TEXTS["dp_minilm_sst2"] += " --data.train-split train[:64] --data.eval-split validation[:40] --data.widths 64"
TEXTS["dp_minilm_sst2"] += " --data.batch 32 --run.accumulate 2 --privacy.epsilon 100 --optim.peak-lr 1e-3"
LSTMS = "--model.encoder.width 8 --model.encoder.dropout 0.1 --model.dropout 0.1 --data.widths 16 64 --data.batch 8"
LSTMS += " --data.eval-batch 20 --optim.peak-lr 3e-2"
TEXTS["lstm_sst2"] = f"{LSTMS} --data.train-split train[:16] --data.eval-split validation[:40]"
TEXTS["lstm_trec"] = f"{LSTMS} --model.classes 2"
TAGS = {"minilm_uner": TINY_BERT, "bert_base_conll2003": f"{TINY_BERT} --model.classes 5"}
PAIRS = {
    "transformer_multi30k": "--model.depth 1 --model.width 16 --model.heads 2 --model.hidden 32 --model.vocab 300 "
    "--data.tokenizer.size 300 --data.widths 32 96 --data.batch 16 --data.eval-batch 8 --decode.beams 2 "
    "--decode.ratio 0.1 --optim.peak-lr 1e-2",
    "transformer_base_wmt14": "--model.depth 1 --model.width 16 --model.heads 2 --model.vocab 300 --data.batch 16 "
    "--data.tokens 1536 "
    "--data.tokenizer.size 300 --data.widths 96 --data.eval-batch 8 --decode.beams 2 --decode.ratio 0.1 "
    "--decode.extra 10 --optim.peak-lr 2e-2 --run.dtype float32 --place.kind local "
    "--data.train-source train.en.gz --data.train-target train.de.gz "
    "--data.eval-source test_2016_flickr.en.gz --data.eval-target test_2016_flickr.de.gz",
    "lstm_multi30k": "--model.width 16 --model.vocab 300 --data.tokenizer.size 300 --data.widths 96 --data.batch 16 "
    "--data.eval-batch 8 --decode.beams 2 --decode.ratio 0.1 --optim.peak-lr 3e-2",
    "lstm_cmudict": "--model.width 16 --model.hidden 16 --model.depth 1 --data.widths 32 --data.batch 16 "
    "--data.eval-batch 8 --decode.beams 2 --decode.ratio 0.1 --optim.peak-lr 3e-2",
}
TINY_T5 = "--model.depth 1 --model.width 16 --model.heads 2 --model.head-width 8 --model.hidden 32 --model.vocab 320"
TINY_T5 += " --optim.peak-lr 1e-2 --decode.beams 2"
PAIRS["t5_aeslc"] = f"{TINY_T5} --data.train-split train[:120] --data.eval-split validation[:12] --data.widths 64"
PAIRS["t5_aeslc"] += " --data.target-widths 24 --data.batch 16 --data.eval-batch 8 --decode.extra 4 --init.path None"
PAIRS["t5_aeslc_spans"] = f"{TINY_T5} --data.text.pairs.train-split train[:60] --data.text.pairs.eval-split test[:5]"
PAIRS["t5_aeslc_spans"] += " --data.text.tokenizer.size 320 --data.text.length 32 --data.text.batch 16 --decode.extra 4"
ASKED = dict.fromkeys(
    ("minilm_squad_format", "bert_base_squad"),
    f"{TINY_BERT} --data.widths 32 48 --data.stride 8 --model.encoder.context 48 --optim.freeze=",
)


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
    """The words that shrink a config, with a tokenizer of single letters or of words."""
    if name == "lstm_trec":
        lines = [line.split() for line in (ROOT / "LICENSE").read_text().splitlines() if len(line.split()) > 4]
        questions = [f"{'HUM' if len(line) < 11 else 'LOC'}:x {' '.join(line)}" for line in lines[:100]]
        for file in ("train_5500.label", "TREC_10.label"):
            (tmp_path / file).write_text("\n".join(questions) + "\n")
        return [*TEXTS[name].split(), *SHORT, "--data.folder", str(tmp_path)]
    if name == "lstm_sst2":
        return [*TEXTS[name].split(), *SHORT]
    words = [*{**TEXTS, **TAGS}[name].split(), *SHORT, *write_letters(tmp_path)]
    return [word.replace("model.encoder", "model.base.encoder") if name.startswith("dp_") else word for word in words]


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


def pair_words(name, tmp_path):
    """The words that shrink a config; a target is the first words of its source in capital letters."""
    if name == "t5_aeslc":
        return [*PAIRS[name].split(), *SHORT, "--data.tokenizer.path", train_tokenizer(tmp_path)]
    if name == "t5_aeslc_spans":
        return [*PAIRS[name].split(), *SHORT]
    if name == "lstm_cmudict":
        return sound_words(name, tmp_path)
    lines = [line.strip() for line in (ROOT / "LICENSE").read_text().splitlines() if line.strip()]
    for split, texts in (("train", lines[:120]), ("test_2016_flickr", lines[120:136])):
        targets = [" ".join(text.upper().split()[:4]) for text in texts]
        for side, rows in (("en", texts), ("de", targets)):
            (tmp_path / f"{split}.{side}.gz").write_bytes(gzip.compress("".join(f"{x}\n" for x in rows).encode()))
    return [*PAIRS[name].split(), *SHORT, "--data.folder", str(tmp_path)]


def question_words(name, tmp_path):
    """The words that shrink a config; the first word of a line of the licence is asked for, in windows over some."""
    lines = [line.split() for line in (ROOT / "LICENSE").read_text().splitlines() if len(line.split()) > 7]
    articles = []
    for number, line in enumerate(lines[:60]):
        context, answers = " ".join(line[: 8 if number % 5 == 0 else 3]), [{"text": line[0], "answer_start": 0}]
        qas = [{"id": str(number), "question": "Which?", "answers": answers}]
        articles.append({"title": str(number), "paragraphs": [{"context": context, "qas": qas}]})
    for file in ("xquad.en.json", "train-v1.1.json", "dev-v1.1.json"):
        (tmp_path / file).write_text(json.dumps({"version": "1.1", "data": articles}))
    return [*ASKED[name].split(), *SHORT, "--data.folder", str(tmp_path), *write_letters(tmp_path)]


def sound_words(name, tmp_path):
    """The words that shrink a config of letters; the sounds are the first letters in capitals."""
    found = sorted({word for word in (ROOT / "LICENSE").read_text().split() if word.isalpha()})
    rows = [f"{' '.join(word)}\t{' '.join(word.upper()[:4])}\n" for word in found]
    for split, part in (("train", rows[:160]), ("valid", rows[:16])):
        (tmp_path / f"{split}.tsv").write_text("".join(["source\ttarget\n", *part]))
    symbols = len({symbol for row in rows[:160] for symbol in row.split()})
    files = ["--data.train-file", str(tmp_path / "train.tsv"), "--data.eval-file", str(tmp_path / "valid.tsv")]
    return [*PAIRS[name].split(), *SHORT, *files, "--model.vocab", str(symbols + 1)]
