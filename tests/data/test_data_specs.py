"""Every data spec keeps the protocol `DataSpec`: one signature, and the same laws."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
from types import SimpleNamespace

import numpy as np
import pytest
from random_pixels import pixels

import jaxlm.data
import tiny_whisper
from jaxlm.data import Chat, DataSpec, DrawsSpec, Episodes, Masked, Preferences, Text, WordPiece
from jaxlm.data.agents.transitions import RecordedTransitions
from jaxlm.data.audio import LibriSpeech, LJSpeech, LogMel, Manifest, SpokenDigits, SpokenText
from jaxlm.data.audio.voices import Sounds, Voices
from jaxlm.data.boxes import CocoBoxes, TfdsBoxes, VocBoxes
from jaxlm.data.captions.attributes import CaptionedAttributes
from jaxlm.data.captions.captioned import Captioned
from jaxlm.data.captions.classes import CaptionedClasses
from jaxlm.data.captions.files import CaptionFile
from jaxlm.data.clients import Clients
from jaxlm.data.images.folder import ImageFolder
from jaxlm.data.images.sources import ArrayImages, Digits, TfdsImages
from jaxlm.data.interactions import InteractionFile, Interactions
from jaxlm.data.labelled_text.sources import SentenceFiles, TfdsSentences, Trec
from jaxlm.data.labelled_text.tag_sources import TagFiles, TfdsTags
from jaxlm.data.pairs import PairFiles, ParallelText, SourceText, SpanCorruption, TfdsPairs
from jaxlm.data.questions import SquadFiles
from jaxlm.data.tables import ClassTable
from jaxlm.data.tables.curve import Parabola
from jaxlm.data.tables.table import Table
from jaxlm.data.text.prompts import DigitPrompts
from jaxlm.data.text.tfds import TfdsText
from jaxlm.data.tokenizers.specs import Characters, Pretrained, Subwords
from jaxlm.environments import CartPole
from jaxlm.errors import BadInput
from scenes import write_coco, write_voc
from shrunk_replay import write_transitions

IMAGES = ("a/1", "a/2", "a/3", "b/1", "b/2", "b/3")
METHODS = [name for name in vars(DataSpec) if not name.startswith("_")]
# Read from prepared datasets, which not every machine has; they share all but their reading with the others.
TFDS = {TfdsBoxes, TfdsImages, TfdsText, TfdsSentences, TfdsTags, TfdsPairs}


def all_specs():
    """Every public class of jaxlm.data that makes training and evaluation data, and has no subclass that does."""
    modules = [
        importlib.import_module(found.name) for found in pkgutil.walk_packages(jaxlm.data.__path__, "jaxlm.data.")
    ]
    classes = {kind for module in modules for kind in vars(module).values() if inspect.isclass(kind)}
    specs = {kind for kind in classes if kind.__module__.startswith("jaxlm.data") and {"train", "eval"} <= {*dir(kind)}}
    specs -= {DataSpec}
    return {kind for kind in specs if not any(kind in other.__mro__[1:] for other in specs)}


def makers(folder):
    """A small spec of each kind that needs no prepared dataset, with the sizes of a model that fits it."""
    (folder / "text.txt").write_text("one two three four five six seven\n" * 60)
    text = Text(path=str(folder / "text.txt"), batch=2, length=16)
    write_transitions(folder / "random.npz")
    talk = {"messages": [{"role": "user", "content": "how"}, {"role": "assistant", "content": "so"}]}
    (folder / "talks.jsonl").write_text((json.dumps(talk) + "\n") * 8)
    pair = {"messages": talk["messages"][:1], "chosen": "yes", "rejected": "no"}
    (folder / "pairs.jsonl").write_text((json.dumps(pair) + "\n") * 8)
    (folder / "texts.csv").write_text("text,label\n" + "a b,x\nc,y\n" * 4)
    (folder / "translations.tsv").write_text("source\ttarget\n" + "a b\tb a\nc\tc d\n" * 4)
    for name in ("train.en", "train.de", "val.en", "val.de"):
        (folder / name).write_text("one two\nthree\n" * 4)
    (folder / "questions").write_text("ENTY:animal What runs ?\nHUM:ind Who reads ?\n" * 4)
    (folder / "tags.txt").write_text("Ada NN NP B-PER\nreads VB VP O\n\nRome NN NP B-LOC\n\n" * 4)
    for name in IMAGES:
        write_image(folder / "images" / f"{name}.png")
    arrays = {"images": pixels(12, 4, 3).reshape(12, 4, 3, 1), "labels": np.arange(12) % 3}
    for name in ("train.npz", "test.npz"):
        np.savez(folder / name, **arrays)
    talks = {"path": str(folder / "talks.jsonl"), "eval_path": str(folder / "talks.jsonl"), "template": "plain"}
    pairs = talks | {"path": str(folder / "pairs.jsonl"), "eval_path": str(folder / "pairs.jsonl")}
    files = {"train_file": str(folder / "texts.csv"), "eval_file": str(folder / "texts.csv"), "batch": 2}
    (folder / "asked.json").write_text(json.dumps(asked()))
    asking = dict.fromkeys(("train_file", "eval_file"), "asked.json") | {"tokenizer": WordPiece(40), "stride": 2}
    table = dict.fromkeys(("train_file", "eval_file"), str(folder / "translations.tsv"))
    sources = {"pairs": PairFiles(**table)}
    folders = {"folder": str(folder), "batch": 2}
    manifest = dict.fromkeys(("train_file", "eval_file"), str(folder / "all.jsonl"))
    sound = {"features": LogMel(rate=800, window=20, hop=8, bands=4), "widths": (80, 160), "batch": 2}
    digits = sound | {"widths": (160,), "tokenizer": Characters()}
    heard = {"vocab": 3, "bands": 4}
    write_sound(folder)
    tiny_whisper.write_tokenizer(folder)
    met = str(folder / "met.csv")
    (folder / "met.csv").write_text("user,item\n" + "".join(f"{u},{(u + i) % 5}\n" for u in range(4) for i in range(3)))
    (folder / "captions.csv").write_text(
        "caption,file\n" + "".join(f"word {n},images/{name}.png\n" for n, name in enumerate(IMAGES))
    )
    write_coco(folder / "scenes", 4)
    write_voc(folder / "voc", {"train": (4, 0), "val": (4, 1)})
    kinds = (("images", "images"), ("file", "instances.json"))
    scenes = {f"{part}_{kind}": str(folder / "scenes" / name) for part in ("train", "eval") for kind, name in kinds}
    read = {"encoder": sizes(vocab=99, context=16)}
    windows = sound | {"widths": (160,), "tokenizer": Pretrained(str(folder / "tokenizer.json"))}
    return [
        (SpokenText(**manifest, **windows), {"vocab": 266, "bands": 4, "source_context": 10, "context": 40}),
        (Manifest(**manifest, **sound), heard),
        (LJSpeech(**folders | sound, held_out=2), heard),
        (LibriSpeech(**folders | sound, train_subsets=("libri",), eval_subsets=("libri",)), heard),
        (SpokenDigits(**folders | sound), {"vocab": 12, "bands": 4}),
        (Voices(speech=SpokenDigits(**folders | digits)), {"vocab": 6, "bands": 4, "speakers": 2}),
        (Sounds(speech=SpokenDigits(**folders | digits)), {"bands": 4, "fft": 20}),
        (Digits(batch=4), {"classes": 10}),
        (ArrayImages(**folders), {"classes": 3}),
        (ImageFolder(path=str(folder / "images"), size=4, batch=2), {"classes": 2}),
        (text, {"vocab": 256, "context": 16}),
        (Masked(dataclasses.replace(text, tokenizer=WordPiece(size=60))), {"encoder": sizes(vocab=60, context=16)}),
        (Chat(**talks, batch=2, length=32), {"vocab": 256, "context": 32}),
        (Preferences(**pairs, batch=2, length=32), {"vocab": 256, "context": 32}),
        (SentenceFiles(**files), {"classes": 2, "encoder": sizes(vocab=99)}),
        (Trec(**folders, train_file="questions", eval_file="questions"), {"classes": 2, "encoder": sizes(vocab=99)}),
        (TagFiles(**folders, train_file="tags.txt", eval_file="tags.txt"), {"classes": 5, "encoder": sizes(vocab=99)}),
        (PairFiles(**table, tokenizer=Subwords(300), batch=2), {"vocab": 300}),
        (ParallelText(**folders, tokenizer=Subwords(300)), {"vocab": 300}),
        (SquadFiles(**folders, **asking, widths=(8, 16)), {"encoder": sizes(vocab=40, context=16, types=2)}),
        (SourceText(**sources, tokenizer=Subwords(300), batch=2, length=4), {"vocab": 300}),
        (SpanCorruption(SourceText(**sources, tokenizer=Subwords(300, 8), batch=2, length=4)), {"vocab": 300}),
        (Interactions(source=InteractionFile(path=met), batch=2, sampled=1), {"users": 4, "items": 5}),
        (ClassTable(**files, target="label"), {"classes": 2}),
        (Parabola(count=8, batch=2), {}),
        (CaptionedClasses(images=Digits(batch=4)), read),
        (CaptionedAttributes(images=Digits(batch=4)), read),
        (CaptionFile(path=str(folder / "captions.csv"), size=4, eval_fraction=0.3, batch=2), read),
        (CocoBoxes(**scenes, size=(8, 8), batch=2), {"classes": 2}),
        (VocBoxes(path=str(folder / "voc"), size=(8, 8), batch=2), {"classes": 2}),
        (DrawsSpec(batch=2), {}),
        (Episodes(environment=CartPole(), environments=2), {"actions": 2}),
        (DigitPrompts(digits=1, batch=2, held_out=3), {"vocab": 12, "context": 9}),
        (RecordedTransitions(path=str(folder / "random.npz"), environment=CartPole(), batch=2), {"actions": 2}),
        (Clients(clients=20, batch=2), {"classes": 10}),
    ]


def asked():
    """Four questions in SQuAD's format."""
    answer = {"text": "Rome", "answer_start": 7}
    pairs = [("Ada in Rome", "Where ?"), ("Bob at Rome and back to a lake", "And he ?")] * 2
    parts = [{"context": text, "qas": [{"question": question, "answers": [answer]}]} for text, question in pairs]
    return {"data": [{"paragraphs": parts}]}


def sizes(**fields):
    return SimpleNamespace(**fields)


def write_image(path):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(4, 4)).save(path)


def write_sound(folder):
    """Six recordings of each layout."""
    import soundfile

    libri = folder / "libri" / "1" / "2"
    for place in (libri, folder / "wavs"):
        place.mkdir(parents=True)
    names = [f"{digit}_{speaker}_{index}" for digit in (0, 1) for speaker in "ab" for index in (1, 2, 5, 6)]
    for number, name in enumerate(names):
        for path in (folder / f"{name}.wav", folder / "wavs" / f"{name}.wav", libri / f"{name}.flac"):
            soundfile.write(path, np.linspace(-0.5, 0.5, 70 + 10 * number % 90), 800)
    (folder / "all.jsonl").write_text("".join(f'{{"audio": "{name}.wav", "text": "a b"}}\n' for name in names))
    (folder / "metadata.csv").write_text("".join(f"{name}|A B|a b\n" for name in names))
    (libri / "1-2.trans.txt").write_text("".join(f"{name} A B\n" for name in names))


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    return makers(tmp_path_factory.mktemp("specs"))


@pytest.mark.parametrize("method", METHODS)
def test_every_spec_has_the_signature_of_the_protocol(method):
    expected = [(one.name, one.default) for one in inspect.signature(getattr(DataSpec, method)).parameters.values()]
    for kind in all_specs():
        found = [(one.name, one.default) for one in inspect.signature(getattr(kind, method)).parameters.values()]
        assert found == expected, kind


def test_every_spec_is_tried_below(specs):
    assert {type(spec) for spec, _ in specs} | TFDS == all_specs() | {Manifest}  # `SpokenText` is one, and more


def batch_size(batch):
    (size,) = {len(values) for values in batch.values()}
    return size


def test_a_spec_makes_batches_of_its_size_that_follow_its_seeds(specs):
    for spec, _ in specs:
        train, held = spec.train(3), spec.eval()
        inner = getattr(spec, "images" if isinstance(spec, Captioned) else "text", None)
        size = getattr(spec, "environments", None) or (spec.batch if hasattr(spec, "batch") else inner.batch)
        assert batch_size(train[0]) == size
        assert sum(batch_size(held[index]) for index in range(len(held))) > 0
        assert train.fingerprint() == spec.train(3, 3).fingerprint() == spec.train(3, None).fingerprint()
        assert train.fingerprint() != spec.train(4).fingerprint()
        assert train.fingerprint() != held.fingerprint()
        for seeds in ((3,), (3, 3), (3, None)):
            assert all(np.array_equal(values, train[1][name]) for name, values in spec.train(*seeds)[1].items())
        example = spec.example()
        assert all(len(x) == 1 for x in (example if isinstance(example, tuple) else (example,)))
        assert ("keys" in train[0]) == ("keys" in held[0])


def test_noise_leaves_the_order_of_the_rows_alone(specs):
    for spec, _ in specs:
        one, other = spec.train(3)[0], spec.train(3, 9)[0]
        follow = {Masked: {"targets"}, Captioned: {"image"}}
        same = next((names for kind, names in follow.items() if isinstance(spec, kind)), {*one} - {"keys", "negatives"})
        for name in same:
            assert np.array_equal(one[name], other[name]), spec
        drawn = [name for name in one if not np.array_equal(one[name], other[name])]
        assert bool(drawn) == bool({"keys", "negatives"} & {*one} or isinstance(spec, Masked)), spec


def test_a_spec_accepts_a_model_that_fits_and_refuses_others_in_one_line(specs):
    for spec, fields in specs:
        assert spec.check(sizes(**fields)) is None
        inner = vars(fields.get("encoder", sizes()))
        wrong = [fields | {name: 1} for name in fields if name != "encoder"]
        wrong += [fields | {"encoder": sizes(**inner | {name: 1})} for name in inner]
        for sized in [*wrong, {}] if fields else []:
            with pytest.raises(BadInput) as raised:
                spec.check(sizes(**sized))
            assert "\n" not in str(raised.value)


def test_several_updates_in_one_program_need_one_width(specs):
    for spec, fields in specs:
        if getattr(spec, "widths", (1,))[1:]:
            with pytest.raises(BadInput, match="run.repeat is 2"):
                spec.check(sizes(**fields), 2)
            spec = dataclasses.replace(spec, widths=spec.widths[-1:])
        spec.check(sizes(**fields), 2)


def test_a_spec_says_what_a_run_prints_and_keeps(specs):
    for spec, _ in specs:
        lines, (amount, unit), files = spec.log_lines(), spec.throughput(), spec.artefacts()
        assert lines
        assert all(line and "\n" not in line for line in lines)
        assert amount >= 1
        units = "steps images tokens texts sentences pairs draws utterances windows rows examples"
        assert unit in units.split()
        assert all(json.loads(text) for text in files.values())
        assert {*files} == {
            *(["tokenizer.json"] if hasattr(spec, "build_tokenizer") else []),
            *(["classes.json"] if hasattr(spec, "names") and not isinstance(spec, Captioned) else []),
            *(["speakers.json"] if hasattr(spec, "speakers") else []),
            *(["pictures.json"] if isinstance(spec, Captioned) else []),
            *(["columns.json"] if isinstance(spec, Table) else []),
            *(["interactions.json"] if isinstance(spec, Interactions) else []),
        }


LINES = {
    Digits: ["train data: 1,437 images of 8 x 8 x 1", "eval data: 360 images of 8 x 8 x 1"],
    Text: ["train data: 1 documents, 1,836 tokens, 113 rows of 16 tokens, 27 tokens left out of each epoch"],
    Chat: ["train data: 8 conversations, 192 tokens, 24 tokens of answers, 8 rows of 32 tokens"],
    Preferences: ["train data: 8 pairs, 376 tokens, 56 tokens of answers"],
    LJSpeech: ["train data: 14 recordings, 1 seconds", "eval data: 2 recordings, 0 seconds"],
    DrawsSpec: ["data: 2 draws an update, 256 draws an evaluation"],
}


def test_the_lines_count_what_there_is(specs):
    for spec, _ in specs:
        assert {*LINES.get(type(spec), [])} <= {*spec.log_lines()}, spec.log_lines()
