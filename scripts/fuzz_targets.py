"""What `fuzz_readers.py` mutates: for each reader some real files, and how they are read."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TEXTS = ["A film, über 3.14 naïve 漢字 🙂 <|im_start|> [CLS]", " ", "x" * 300]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        samples: folders of real files, as name -> content.
        read: reads a folder.
        whole: names of files that are not changed.
    """

    samples: tuple[dict[str, bytes], ...]
    read: Callable[[Path], Any]
    whole: tuple[str, ...] = ()


def files(folder: Path, *names: str) -> dict[str, bytes]:
    """Return some files of a folder, all where none are named."""
    chosen = names or tuple(path.name for path in folder.iterdir() if path.is_file())
    return {name: (folder / name).read_bytes() for name in chosen}


def head(path: Path, lines: int, name: str) -> dict[str, bytes]:
    """Return the first lines of a file under another name."""
    return {name: b"\n".join(path.read_bytes().split(b"\n")[:lines]) + b"\n"}


def read_tokenizer(folder: Path) -> None:
    """Read a tokenizer and use all of it."""
    from jaxlm.data import Pretrained, load_tokenizer

    tokenizer = load_tokenizer(Pretrained(str(folder)).build([]).to_json())
    tokenizer.decode(np.concatenate(tokenizer.encode_all(TEXTS)))
    tokenizer.encode_words([["A", "film"], ["漢字"]])
    tokenizer.frame(pair=True), tokenizer.byte_lengths(), tokenizer.token("[CLS]"), tokenizer.separator


def byte_level(folder: Path) -> dict[str, bytes]:
    """Return the first merges of GPT-2 with the vocabulary that they need, and a tokenizer_config.json."""
    whole = json.loads((folder / "gpt2-vocab.json").read_bytes())
    merges = (folder / "gpt2-merges.txt").read_text(encoding="utf-8").split("\n")[:301]
    names = [name for name in whole if len(name) == 1] + [merge.replace(" ", "") for merge in merges[1:]]
    vocab = {name: index for index, name in enumerate(dict.fromkeys([*names, "<|endoftext|>"]))}
    config = {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "bos_token": "<|endoftext|>"}
    contents = {"vocab.json": json.dumps(vocab), "tokenizer_config.json": json.dumps(config)}
    return {name: text.encode() for name, text in {**contents, "merges.txt": "\n".join(merges)}.items()}


def read_table(name: str) -> Callable[[Path], None]:
    """Return a reader of labelled texts."""

    def read(folder: Path) -> None:
        from jaxlm.data import Words
        from jaxlm.data.labelled_text.sources import SentenceFiles

        path = str(folder / name)
        data = SentenceFiles(train_file=path, eval_file=path, tokenizer=Words(), batch=1)
        data.train()[0], data.log_lines()

    return read


def read_json_lines(folder: Path) -> None:
    """Read labelled texts, or conversations."""
    from jaxlm.data import Chat

    if (folder / "t.jsonl").exists():
        return read_table("t.jsonl")(folder)
    path = str(folder / "chat.jsonl")
    Chat(path=path, eval_path=path, batch=1, overlong="cut").train()[0]
    return None


def read_tags(folder: Path) -> None:
    """Read sentences with tags."""
    from jaxlm.data.labelled_text.tag_sources import TagFiles

    comments = {"word": 1, "tag": 2, "comments": "#"}
    fields: dict[str, Any] = comments if (folder / "uner.txt").exists() else {"word": 0, "tag": -1}
    name = next(folder.glob("*.txt")).name
    TagFiles(folder=str(folder), train_file=name, eval_file=name, batch=1, **fields).train()[0]


def read_questions(folder: Path) -> None:
    """Read questions in SQuAD's format."""
    from jaxlm.data.questions import SquadFiles
    from jaxlm.data.tokenizers.specs import WordPiece

    SquadFiles(folder=str(folder), train_file="q.json", eval_file="q.json", tokenizer=WordPiece(999), batch=1).train()[
        0
    ]


def read_interactions(folder: Path) -> None:
    """Read who met which item, in the layout of CiteULike or in columns."""
    from jaxlm.data.interactions import CiteULike, InteractionFile, Interactions

    path = next(folder.iterdir())
    source = CiteULike(path=str(path)) if path.suffix == ".dat" else InteractionFile(path=str(path), time="time")
    spec = Interactions(source=source, batch=1, sampled=0)
    spec.train()[0], spec.eval()[0], spec.artefacts()


def read_text(folder: Path) -> None:
    """Read plain text, and the lines of a file to predict for."""
    from argparse import Namespace

    from jaxlm.data import Text
    from jaxlm.verbs.predict import read_inputs

    list(read_inputs(Namespace(inputs=[], file=str(folder / "t.txt"), column=[])))
    Text(path=str(folder / "t.txt"), batch=1, length=4).train()[0]


def read_npz(folder: Path) -> None:
    """Read images as arrays."""
    from jaxlm.data.images.sources import ArrayImages

    ArrayImages(folder=str(folder), train_file="a.npz", eval_file="a.npz", batch=1, max_bytes=1 << 26).train()[0]


def read_images(folder: Path) -> None:
    """Decode the image for training, and as an input to predict for."""
    from jaxlm.data.images.decode import check_image
    from jaxlm.errors import BadInput
    from jaxlm.predict.images import ReadImages

    content = next(folder.iterdir()).read_bytes()
    (found,) = ReadImages((16, 16, 3), max_pixels=1 << 22)([content])
    if isinstance(found, BadInput):
        raise found
    with contextlib.suppress(OSError, SyntaxError, ValueError):  # `Decoded` makes a BadInput of these
        check_image(content, 3, 1 << 22)


def read_weights(folder: Path) -> None:
    """Read a whole pretrained model."""
    from jaxlm.hub.pretrained import load_pretrained

    load_pretrained(folder)


def read_model(folder: Path) -> None:
    """Read the config.json of a pretrained model."""
    from jaxlm.hub import pretrained

    pretrained.is_pretrained(folder)
    model = pretrained.read_model(folder)
    pretrained.shapes(pretrained.family_of_model(model), model)


def read_run(folder: Path) -> None:
    """Read all that a run keeps beside its checkpoints, and a seal."""
    from jaxlm.data import load_tokenizer
    from jaxlm.runs.directory import RunDirectory
    from jaxlm.runs.seal import find_damage

    run = RunDirectory.existing(folder)
    with contextlib.redirect_stderr(io.StringIO()):
        list(run.metrics())
    find_damage(folder)
    load_tokenizer(run.artefact("tokenizer.json"))
    run.class_names()
    run.lineage()
    run.config()


def npz(arrays: dict[str, np.ndarray]) -> bytes:
    """Return a compressed .npz file."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def images(data: Path) -> Iterator[dict[str, bytes]]:
    """Yield an image in every format."""
    from PIL import Image

    path = sorted((data / "hymenoptera_data").rglob("*.jpg"))[0]
    with Image.open(path) as opened:
        small = opened.convert("RGB").resize((48, 40))
    for kind, image in (
        *((kind, small) for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF")),
        ("PNG", small.convert("P")),
        ("PNG", small.convert("RGBA")),
        ("TIFF", small.convert("L")),
    ):
        file = io.BytesIO()
        image.save(file, kind, **({"compression": "tiff_lzw"} if image.mode == "L" else {}))
        yield {"image": file.getvalue()}


def run_files(work: Path) -> dict[str, bytes]:
    """Return the files of a run that has begun, and a seal."""
    from jaxlm.data import load_tokenizer
    from jaxlm.runs.directory import RunDirectory
    from jaxlm.runs.seal import write_seal
    from jaxlm.runs.shipped import find_both
    from jaxlm.train.config import load_config

    experiment, config = find_both(["cnn_digits"])
    run = RunDirectory(work / "run")
    classes = json.dumps({"names": ["a", "b"], "shape": [8, 8, 1], "crop": "squash"})
    kept = {"classes.json": classes, "tokenizer.json": load_tokenizer('{"kind": "bytes"}').to_json()}
    session = {"directory": str(work), "git": None, "packages": {"jaxlm": "0"}, "data": {}}
    run.begin(load_config(config), session, experiment, kept)
    for step in range(10):
        run.append_metrics(step, {"train/loss": 1.0 / (step + 1), "eval/loss": float("nan")})
    run.close()
    write_seal(run.path, {"step": 1, "metrics": {"eval/loss": 1.0}, "leaves": {"params/a": "float32[2]"}})
    return {name: content for name, content in files(run.path).items() if name.endswith((".json", ".jsonl"))}


def targets(data: Path, work: Path) -> dict[str, Target]:
    """Return all readers by name.

    Args:
        data: the folder of real data.
        work: a folder for files that are made.
    """
    cases = data / "cases"
    models = [cases / "labels" / name for name in ("cls_id2label_positive_first", "ner_per_org_loc")]
    models.append(data / "stories260k")
    weights = [files(folder, "config.json", "model.safetensors") for folder in models]
    bert = (data / "tokenizers" / "bert-base-uncased-vocab.txt").read_bytes().split(b"\n")
    vocab = {"vocab.txt": b"\n".join(bert[:3000]), **files(cases / "tokenizers" / "german", "tokenizer_config.json")}
    tokens = [files(cases / "tokenizers" / "tok_null_bos"), *(files(folder, "tokenizer.json") for folder in models[:2])]
    pieces = {"vocab.json": (data / "stories260k" / "reference.json").read_bytes()}
    csv = [files(cases / "labels", "train.csv"), files(cases / "csv", "pandas_index.csv")]
    csv = [{"t.csv": next(iter(sample.values()))} for sample in csv]
    lines = head(cases / "labels" / "int_tr.jsonl", 20, "t.jsonl")
    message = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ja \ud83d\ude42"}]}
    chat = {"chat.jsonl": (json.dumps(message) + "\n").encode() * 3}
    uner = head(data / "uner_ewt" / "en_ewt-ud-dev.iob2", 60, "uner.txt")
    conll = head(cases / "labels" / "ner_train.txt", 60, "conll.txt")
    asked = json.loads((data / "xquad_en" / "xquad.en.json").read_bytes())
    asked = {"q.json": json.dumps({"data": [{"paragraphs": asked["data"][0]["paragraphs"][:2]}]}).encode()}
    met = head(data / "citeulike_a" / "users.dat", 6, "users.dat")
    times = "user,item,time\n" + "".join(f"{user},{item},2024-05-{item + 1:02}\n" for user in "ab" for item in range(4))
    long = {"t.txt": TEXTS[0].encode() * 40}
    plain = {"t.txt": (TEXTS[0] + "\r\n").encode() * 40}
    arrays: dict[str, np.ndarray] = {
        "images": np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8),
        "labels": np.arange(3),
    }
    return {
        "safetensors": Target(tuple(weights), read_weights, whole=("config.json",)),
        "config.json": Target(tuple(weights), read_model, whole=("model.safetensors",)),
        "tokenizer.json": Target(tuple(tokens), read_tokenizer),
        "vocab.txt": Target((vocab, *({**files(cases / "tokenizers" / "german")},)), read_tokenizer),
        "vocab.json": Target((byte_level(data / "tokenizers"), pieces), read_tokenizer),
        "CSV": Target(tuple(csv), read_table("t.csv")),
        "TSV": Target(({"t.tsv": csv[0]["t.csv"].replace(b",", b"\t")},), read_table("t.tsv")),
        "JSON lines": Target((lines, chat), read_json_lines),
        "CoNLL": Target((uner, conll), read_tags),
        "questions": Target((asked,), read_questions),
        "interactions": Target((met, {"met.csv": times.encode()}), read_interactions),
        "plain text": Target((plain, long), read_text),
        "npz": Target(({"a.npz": npz(arrays)}, {"a.npz": stored(arrays)}), read_npz),
        "images": Target(tuple(images(data)), read_images),
        "run files": Target((run_files(work),), read_run),
    }


def stored(arrays: dict[str, np.ndarray]) -> bytes:
    """Return a .npz file without compression."""
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()
