"""Pairs of texts: every source and target comes back from the rows, once, with its end; what cannot be is one line."""

import dataclasses
import gzip
import json

import numpy as np
import pytest

from jaxlm.data import Characters, Symbols
from jaxlm.data.pairs import PairFiles, ParallelText
from jaxlm.data.pairs.sources import read_parallel_lines
from jaxlm.data.tokenizers.specs import Subwords
from jaxlm.errors import BadInput
from jaxlm.models.transformer import Transformer

SOURCES = [
    "A dog runs.",
    "Zwei Männer – drei Hunde",
    "one",
    "  two   words ",
    "the end of a longer sentence than others",
]
TARGETS = ["Ein Hund rennt.", "two men", "eins, zwei, drei und noch viel mehr", "zwei Wörter", "Ende"]


def write(folder, kind):
    """The pairs as files of a kind, and the spec that reads them."""
    options = {"tokenizer": Subwords(300), "batch": 2, "eval_batch": 3, "widths": (16, 64)}
    if kind == "parallel":
        for name, texts in (("train.en", SOURCES), ("train.de", TARGETS), ("val.en", SOURCES), ("val.de", TARGETS)):
            (folder / f"{name}.gz").write_bytes(gzip.compress("".join(f"{text}\n" for text in texts).encode()))
        names = {
            f"{split}_{side}": f"{stem}.{end}.gz"
            for split, stem in (("train", "train"), ("eval", "val"))
            for side, end in (("source", "en"), ("target", "de"))
        }
        return ParallelText(folder=str(folder), **names, **options)
    rows = [{"source": source, "target": target} for source, target in zip(SOURCES, TARGETS, strict=True)]
    path = folder / f"pairs.{kind}"
    lines = ["source\ttarget", *("\t".join(row.values()) for row in rows)] if kind == "tsv" else map(json.dumps, rows)
    path.write_text("".join(f"{line}\n" for line in lines))
    return PairFiles(train_file=str(path), eval_file=str(path), **options)


@pytest.mark.parametrize("kind", ["parallel", "tsv", "jsonl"])
def test_every_pair_comes_back_once_with_its_end(tmp_path, kind):
    spec = write(tmp_path, kind)
    tokenizer, found = spec.build_tokenizer(), {}
    for split in (spec.eval(), spec.train(seed=0)):
        found.clear()
        for index in range(len(split)):
            batch = split[index]
            for row in np.flatnonzero(batch["mask"]):
                texts = []
                for name in ("source", "target"):
                    segments = batch[f"{name}_segments"][row].astype(bool)
                    ids = batch["tokens" if name == "source" else "targets"][row]
                    assert not ids[~segments].any()
                    assert ids[segments][-1] == tokenizer.separator
                    texts.append(tokenizer.decode(ids[segments][:-1]))
                found[int(batch["row"][row])] = tuple(texts)
        clean = [" ".join(text.split()) for text in SOURCES]
        assert found == dict(enumerate(zip(clean, TARGETS, strict=True)))
    assert list(spec.references()) == TARGETS


def test_lower_case_is_of_both_sides(tmp_path):
    spec = dataclasses.replace(write(tmp_path, "tsv"), lower=True)
    assert list(spec.references()) == [text.lower() for text in TARGETS]


def test_long_training_pairs_are_left_out_and_long_sources_of_the_evaluation_cut(tmp_path):
    spec = dataclasses.replace(write(tmp_path, "tsv"), widths=(8, 15))
    loaded = spec.loaded()
    sides = [loaded.train.counts[f"left out for {side} of more than 15 tokens"] for side in ("sources", "targets")]
    assert sides == [loaded.eval.counts[f"{side} cut to 15 tokens"] for side in ("sources", "targets")]
    encoded = [[len(loaded.tokenizer.encode(text)) + 1 for text in side] for side in loaded.eval[1:3]]
    assert sides == [sum(size > 15 for size in side) for side in encoded]
    assert loaded.train.counts["pairs"] == sum(max(pair) <= 15 for pair in zip(*encoded, strict=True))
    assert min(sides) > 0
    assert loaded.eval.counts["pairs"] == len(SOURCES)
    assert max(loaded.eval.rows.sizes) == 15


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.tsv": "source\ttarget\nx\ty\n\tz\n"}, "a.tsv line 3: the source is empty"),
        ({"a.tsv": "source\ttarget\nx\t \n"}, "a.tsv line 2: the target is empty"),
        ({"a.tsv": "source\tother\nx\ty\n"}, "no 'target' there"),
        ({"a.jsonl": '{"source": ["x"], "target": "y"}\n'}, "'source' is a list"),
        ({"a.tsv": "source\ttarget\n"}, "the training split has no pairs"),
    ],
)
def test_bad_pairs_are_one_line_that_names_the_place(tmp_path, files, words):
    ((name, content),) = files.items()
    (tmp_path / name).write_text(content)
    spec = PairFiles(train_file=str(tmp_path / name), eval_file=str(tmp_path / name), tokenizer=Subwords(300))
    with pytest.raises(BadInput, match=words) as error:
        spec.loaded()
    assert "\n" not in str(error.value)


def test_a_damaged_gz_file_is_one_line(tmp_path):
    path, random = tmp_path / "a.gz", np.random.default_rng(0)
    whole = gzip.compress(b"".join(b"%d\n" % number for number in range(300)))
    for place in random.choice(np.arange(10, len(whole)), 40, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(BadInput, match="a.gz cannot be unpacked"):
            read_parallel_lines(path)


def test_a_symbol_that_training_lacks_is_named_with_its_place(tmp_path):
    for name, text in (("train", "a b\tA B"), ("eval", "a\tA\nb a c\tB")):
        (tmp_path / f"{name}.tsv").write_text(f"source\ttarget\n{text}\n")
    spec = PairFiles(train_file=str(tmp_path / "train.tsv"), eval_file=str(tmp_path / "eval.tsv"), tokenizer=Symbols())
    with pytest.raises(BadInput, match=r"eval.tsv line 3: the symbol 'c' is not among the 4 of the training text"):
        spec.loaded()


def test_files_of_other_lengths_and_tokenizers_without_an_end_are_refused(tmp_path):
    spec = write(tmp_path, "parallel")
    with pytest.raises(BadInput, match="no token that ends a text"):
        dataclasses.replace(spec, tokenizer=Characters()).loaded()
    (tmp_path / "val.de.gz").write_bytes(gzip.compress(b"one\n"))
    with pytest.raises(BadInput, match="has 5 lines and .* 1: line n of both is one pair"):
        spec.loaded()
    (tmp_path / "val.de.gz").write_bytes(b"not gzip")
    with pytest.raises(BadInput, match="cannot be unpacked"):
        spec.loaded()


def test_a_vocabulary_that_is_too_small_is_refused(tmp_path):
    spec = write(tmp_path, "tsv")
    with pytest.raises(BadInput, match="set it to"):
        spec.check(Transformer(vocab=200, depth=1, width=8, heads=2))


def test_targets_have_widths_of_their_own_and_every_pair_the_narrowest_that_holds_it(tmp_path):
    narrow = dataclasses.replace(write(tmp_path, "tsv"), widths=(16, 32, 64), target_widths=(8, 8, 48))
    whole = dataclasses.replace(narrow, widths=(64,), target_widths=())
    expected, seen = every_pair(whole), []
    for index in range(len(narrow.eval())):
        batch = narrow.eval()[index]
        source, target = batch["tokens"].shape[1], batch["targets"].shape[1]
        assert (source, target) in narrow.width_pairs
        for row in np.flatnonzero(batch["mask"]):
            sizes = [int(batch[f"{side}_segments"][row].sum()) for side in ("source", "target")]
            holds = [pair for pair in narrow.width_pairs if all(a <= b for a, b in zip(sizes, pair, strict=True))]
            assert holds[0] == (source, target)
            seen.append(int(batch["row"][row]))
    assert every_pair(narrow) == expected
    assert sorted(seen) == list(range(len(SOURCES)))
    assert [len(array[0]) for array in narrow.example()] == [16, 8]
    assert narrow.eval().fingerprint() != dataclasses.replace(narrow, target_widths=(8, 16, 48)).eval().fingerprint()


def every_pair(spec):
    """The tokens of all pairs of an evaluation, by number."""
    found, held = {}, spec.eval()
    for index in range(len(held)):
        batch = held[index]
        for row in np.flatnonzero(batch["mask"]):
            found[int(batch["row"][row])] = [
                batch[name][row][batch[segments][row] > 0].tolist()
                for name, segments in (("tokens", "source_segments"), ("targets", "target_segments"))
            ]
    return found


def test_long_sources_are_cut_in_training_where_that_is_asked_for_and_counted(tmp_path):
    spec = dataclasses.replace(write(tmp_path, "tsv"), widths=(8,), target_widths=(64,))
    cut, skipped = (dataclasses.replace(spec, overlong=way).loaded().train for way in ("cut", "skip"))
    long = skipped.counts["left out for sources of more than 8 tokens"]
    assert cut.counts["sources cut to 8 tokens"] == long > 0
    assert cut.counts["pairs"] == skipped.counts["pairs"] + long == len(SOURCES)
    assert cut.counts["left out for targets of more than 64 tokens"] == 0
    ends = cut.rows.sources.cells["tokens"][np.cumsum(cut.rows.sources.sizes) - 1]
    assert (ends == spec.build_tokenizer().separator).all()


@pytest.mark.parametrize("targets", [(8,), (8, 4), (0, 8)])
def test_widths_of_targets_that_cannot_be_are_refused(tmp_path, targets):
    with pytest.raises(BadInput, match="data.target_widths is .* one for each width"):
        dataclasses.replace(write(tmp_path, "tsv"), target_widths=targets).loaded()
