"""The names of classes travel with a head: read from id2label, brought into the data's order, written on export."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxlm import optim, steps
from jaxlm.errors import BadInput
from jaxlm.hub import pretrained
from jaxlm.hub.options import Options, default_names
from jaxlm.models.bert import BERT
from jaxlm.models.heads import Classifier, TokenClassifier
from jaxlm.models.resnet import ResNet
from jaxlm.models.vit import ViT
from jaxlm.predict.texts import read_class_names
from jaxlm.runs.directory import CLASSES, RunDirectory, parse_class_names
from jaxlm.train.init_from import InitFrom, match_classes, read_source
from test_hub_verbs import command
from whole_path import ROOT

LABELS = Path(os.environ.get("JAXLM_TEST_DATA", "/nowhere")) / "cases/labels"
ENCODER = BERT(vocab=11, depth=1, width=8, heads=2, context=12)
TOKENS = np.array([[3, 1, 4, 1, 5]], np.int32)
IMAGE = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
HEADS = {
    "texts": (Classifier(ENCODER, 4, pool="pooler"), TOKENS),
    "tokens": (TokenClassifier(ENCODER, 4), TOKENS),
    "vit": (ViT(4, patch=4, depth=1, width=8, heads=2, hidden=12, image=(8, 8, 3), activation="gelu_exact"), IMAGE),
    "resnet": (ResNet(4, (1, 1), width=4), IMAGE),
}
THEIRS, OURS = ("O", "B-PER", "B-ORG", "B-LOC"), ("B-LOC", "O", "B-ORG", "B-PER")


def write(folder, model, names=None, seed=3):
    """A folder of a model with random weights, whose classes have these names."""
    shapes = pretrained.shapes(pretrained.family_of_model(model), model)
    draw = np.random.default_rng(seed)
    leaves = {path: 1 + 0.2 * draw.normal(size=leaf.shape).astype(np.float32) for path, leaf in shapes.items()}
    pretrained.save_pretrained(folder, model, leaves, class_names=names)
    return InitFrom(path=str(folder), fresh="")


def load(init, model, example, names):
    def state(key):
        return steps.init(model, optim.SGD()(1), example, key)

    kept = {} if names is None else {CLASSES: json.dumps({"names": names})}
    return init.load(jax.eval_shape(state, jax.random.key(0)), model, kept)


def logits(model, example, loaded):
    return np.asarray(model.apply(pretrained.tree_from_leaves(loaded.arrays), example))


@pytest.mark.parametrize("name", HEADS)
def test_a_head_gives_each_name_the_logit_that_it_was_made_for(name, tmp_path):
    model, example = HEADS[name]
    init = write(tmp_path, model, THEIRS)
    before, after = (load(init, model, example, names) for names in (THEIRS, OURS))
    assert not before.log_lines
    assert after.log_lines == (
        f"the head of {tmp_path} has its classes in the order (O, B-PER, B-ORG, B-LOC): brought into that of the data",
    )
    expected = logits(model, example, before)[..., [THEIRS.index(one) for one in OURS]]
    np.testing.assert_allclose(logits(model, example, after), expected, rtol=1e-5)
    assert np.ptp(expected) > 1e-3


def test_a_head_for_other_classes_is_refused_with_both_lists(tmp_path):
    model, example = HEADS["texts"]
    init = write(tmp_path, model, THEIRS)
    with pytest.raises(BadInput) as refusal:
        load(init, model, example, ("B-LOC", "O", "B-ORG", "B-MISC"))
    told = str(refusal.value)
    assert "is for the classes (O, B-PER, B-ORG, B-LOC), and the data has (B-LOC, O, B-ORG, B-MISC): correct" in told
    assert "--init.fresh '^head/'" in told
    assert load(InitFrom(init.path), model, example, ("a", "b", "c", "d")).arrays  # with a new head, as by default


def test_a_head_without_names_is_taken_as_it_is_and_said(tmp_path):
    model, example = HEADS["texts"]
    init = write(tmp_path, model)
    (line,) = load(init, model, example, OURS).log_lines
    assert line == f"the head of {tmp_path} names no classes: its outputs are taken in the order ({', '.join(OURS)})"
    assert not load(init, model, example, None).log_lines


def test_long_lists_are_shortened_in_messages():
    many = tuple(map(str, range(1000)))
    leaves = {"params/head/bias": np.zeros(1000)}
    with pytest.raises(BadInput, match=r"\(0, 1, .*, 19, \.\.\. \(1000\)\), and the data"):
        match_classes(leaves, many, (*many[1:], "x"), "path")


@pytest.mark.parametrize("count", [2, 3, 12])
def test_names_are_written_in_the_order_of_the_logits_and_read_in_it(count, tmp_path):
    names = tuple(sorted(map(str, range(count))))  # as strings: 0, 1, 10, 11, 2, ...
    write(tmp_path, TokenClassifier(ENCODER, count), names)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {str(index): name for index, name in enumerate(names)}
    assert config["label2id"] == {name: index for index, name in enumerate(names)}
    assert pretrained.head_names(tmp_path) == names
    shuffled = dict(reversed(config["id2label"].items()))
    assert Options({"id2label": shuffled}).class_names() == names


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, default_names(2)),
        ({"num_labels": 3}, default_names(3)),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}, ("a", "b")),
        ({"id2label": {"0": 7}, "num_labels": 1}, ("7",)),
        ({"label2id": {"a": 0, "b": 1, "c": 2}, "num_labels": 3}, default_names(3)),
    ],
)
def test_names_mean_what_they_mean_in_transformers(options, expected):
    assert Options(options).class_names() == expected


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"id2label": {"0": "a", "2": "b"}}, "does not number its classes from 0"),
        ({"id2label": {"1": "a", "2": "b"}}, "does not number its classes from 0"),
        ({"id2label": ["a", "b"]}, "does not number its classes from 0"),
        ({"id2label": {}}, "does not number its classes from 0"),
        ({"id2label": {"0": "a"}, "num_labels": 2}, "has num_labels 2 and 1 names in id2label"),
        ({"problem_type": "multi_label_classification"}, 'has problem_type "multi_label_classification", which is not'),
    ],
)
def test_names_that_contradict_the_logits_are_refused(options, told):
    with pytest.raises(BadInput) as refusal:
        Options(options).class_names()
    assert told in str(refusal.value)


def test_weights_that_are_no_numbers_are_said_and_a_digest_knows_weights_and_names(tmp_path):
    model, example = HEADS["texts"]
    digests = set()
    for number, (names, seed) in enumerate([(THEIRS, 3), (THEIRS, 3), (OURS, 3), (THEIRS, 4)]):
        (folder := tmp_path / str(number)).mkdir()
        loaded = load(write(folder, model, names, seed), model, example, THEIRS)
        assert loaded.lineage == {"path": str(folder), "step": None, "sha256": InitFrom(str(folder)).digest()}
        digests.add(loaded.lineage["sha256"])
    assert len(digests) == 3
    leaves = dict(pretrained.load_pretrained(folder).leaves)
    for name in ("params/head/kernel", "params/encoder/embed/embedding"):
        leaves[name] = leaves[name].copy()
        leaves[name][0, 0] = {"params/head/kernel": np.nan}.get(name, np.inf)
    pretrained.save_pretrained(folder, model, leaves, class_names=THEIRS)
    (line,) = load(InitFrom(str(folder), fresh=""), model, example, THEIRS).log_lines
    assert line.endswith("has NaN or infinite weights in 2 arrays, the first params/encoder/embed/embedding")


CONFIG = """
from jaxlm.data import Pretrained
from jaxlm.data.labelled_text.sources import SentenceFiles
from jaxlm.data.labelled_text.tag_sources import TagFiles
from jaxlm.losses import Classification
from jaxlm.models.bert import BERT
from jaxlm.models.heads import Classifier, TokenClassifier
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run
encoder = BERT(vocab=13, depth=1, width=32, heads=2, context=32, hidden=48)
rows = dict(tokenizer=Pretrained({folder!r}), batch=8, widths=(16,), train_file={train!r}, eval_file={eval!r})
config = Config(
    model={model}, data={data}, optim=AdamW(peak_lr=1e-3, warmup=1), run=Run(steps=2, metric={metric!r}){loss}
)
"""
CASES = {
    "text_classification": {
        "folder": LABELS / "cls_id2label_positive_first",
        "train": LABELS / "train.csv",
        "eval": LABELS / "eval.csv",
        "model": 'Classifier(encoder, 2, pool="pooler")',
        "data": "SentenceFiles(**rows)",
        "metric": "eval/accuracy",
        "loss": ", loss=Classification()",
    },
    "token_classification": {
        "folder": LABELS / "ner_per_org_loc",
        "train": LABELS / "ner_train.txt",
        "eval": LABELS / "ner_valid.txt",
        "model": "TokenClassifier(encoder, 7)",
        "data": 'TagFiles(folder="", word=0, tag=1, **rows)',
        "metric": "eval/entity_f1",
        "loss": "",
    },
}


@pytest.mark.slow
@pytest.mark.skipif(not LABELS.is_dir(), reason="JAXLM_TEST_DATA has no cases/labels")
@pytest.mark.parametrize("task", CASES)
def test_an_imported_head_scores_as_in_transformers_and_its_names_go_out_again(task, tmp_path, capsys):
    case = {name: str(value) for name, value in CASES[task].items()}
    (tmp_path / "config.py").write_text(CONFIG.format(**case))
    words = ("--experiment", ROOT / "experiments" / f"{task}.py", "--config", tmp_path / "config.py")
    assert command("import", case["folder"], *words, "--directory", tmp_path / "run") == 0
    assert f"{case['metric']} 1 " in (out := capsys.readouterr().out)
    assert "brought into that of the data" in out
    assert command("export", tmp_path / "run", "--to", "hf", tmp_path / "out") == 0
    names = json.loads((tmp_path / "run" / "classes.json").read_text())["names"]
    assert pretrained.head_names(tmp_path / "out") == tuple(names) != pretrained.head_names(case["folder"])
    assert read_source(str(tmp_path / "run")).class_names == tuple(names)
    init = json.loads((tmp_path / "run" / "lineage.json").read_text())["sessions"][0]["init"]
    assert init == {"path": case["folder"], "step": None, "sha256": InitFrom(case["folder"]).digest()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"names": ["b", "a"], "shape": [8, 8, 3]}', ("b", "a")),
        ('["a", "b"]', None),
        ('{"names": 3}', None),
        ('{"names": ["a", 1]}', None),
        ("[" * 20_000, None),
        ("no json", None),
    ],
)
def test_a_classes_file_of_another_form_names_no_classes(text, expected, tmp_path):
    assert parse_class_names(text) == expected
    (tmp_path / "classes.json").write_text(text)
    assert RunDirectory(tmp_path).class_names() == expected
    if expected is None:
        with pytest.raises(BadInput, match=r"classes.json is damaged or not there"):
            read_class_names(RunDirectory(tmp_path))
