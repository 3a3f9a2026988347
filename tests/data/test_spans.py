"""Span corruption: the text comes back, as much is hidden as was asked for, and draws depend on seed, epoch and row."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxlm.data import Bytes, Text, batches
from jaxlm.data.epoch import Epoch
from jaxlm.data.order import InOrder, Shuffled
from jaxlm.data.pairs import PairFiles, SourceText, SpanCorruption
from jaxlm.data.pairs.spans import CorruptedRows, Noise, corrupt, draw_spans, restore, sentinels_of
from jaxlm.data.text.windows import Stream, Windows
from jaxlm.data.tokenizers.specs import Pretrained, Subwords
from jaxlm.errors import BadInput
from jaxlm.models.t5 import T5
from whole_path import ROOT

VOCAB, END = 90, 0
SENTINELS = np.arange(99, 89, -1, dtype=np.int32)  # they descend from the last id of a vocabulary of 100
EPOCH = Epoch(3, 0)


def rows(length=48, size=4_000, training=True, **noise):
    tokens = np.random.default_rng(0).integers(1, VOCAB, size)
    noise = Noise(**noise)
    windows = Windows(Stream(tokens, None, f"made up {size}"), noise.fitting(length).text, training, shift=0)
    return CorruptedRows(windows, noise, length, SENTINELS, END)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_corrupting_and_restoring_gives_back_the_text(data):
    """As much as was asked for is hidden, in as many spans, which do not touch and use each sentinel once."""
    size, rate, span = data.draw(st.integers(2, 60)), data.draw(st.floats(0.01, 0.99)), data.draw(st.floats(1, 8))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sentinels = np.arange(200, 100, -1, dtype=np.int32)
    noise, tokens = Noise(rate, span), draw.integers(0, 50, size)
    hidden = draw_spans(size, noise, draw.integers(0, 2**64, (2, size), dtype=np.uint64))
    source, target = corrupt(tokens, hidden, sentinels)
    np.testing.assert_array_equal(restore(source, target, sentinels), tokens)
    count, spans = noise.counts(size)
    assert 1 <= count < size
    assert abs(count - size * rate) <= 1
    assert hidden.sum() == count
    assert not hidden[0]
    assert hidden[-1]
    for side, plain in ((source, size - count), (target, count)):
        np.testing.assert_array_equal(side[side > 100], sentinels[:spans])
        assert len(side) == plain + spans == noise.sizes(size)[1 if side is source else 2] - 1


def test_the_example_of_the_paper():
    words = "Thank you for inviting me to your party last week".split()
    hidden = np.isin(words, ["for", "inviting", "last"])
    source, target = corrupt(np.arange(10), hidden, np.array([99, 98]))
    assert source.tolist() == [0, 1, 99, 4, 5, 6, 7, 98, 9]
    assert target.tolist() == [99, 2, 3, 98, 8]


def test_rows_are_as_long_as_those_of_t5():
    """The lengths that its `random_spans_helper` finds, for the inputs of 512 tokens of the paper and another rate."""
    assert Noise().fitting(512) == (568, 512, 114)
    assert (
        Noise(0.5, 3.0).fitting(512).source <= 512 < Noise(0.5, 3.0).sizes(Noise(0.5, 3.0).fitting(512).text + 1).source
    )


def test_all_ways_to_cut_are_equally_likely():
    draw = np.random.default_rng(0)
    noise, found = Noise(0.5, 2.0), {}
    for _ in range(3000):
        hidden = tuple(draw_spans(8, noise, draw.integers(0, 2**64, (2, 8), dtype=np.uint64)).tolist())
        found[hidden] = found.get(hidden, 0) + 1
    assert len(found) == 9  # 4 hidden and 4 other tokens, each in two spans: three ways each
    assert max(found.values()) < 3000 / 9 + 5 * (3000 / 9) ** 0.5


def test_full_rows_have_no_padding_and_both_sides_end():
    batch = rows().take(np.arange(20), EPOCH)
    assert batch["tokens"].shape[1] in (47, 48)
    for name, segments in (("tokens", "source_segments"), ("targets", "target_segments")):
        assert batch[segments].all()
        assert (batch[name][:, -1] == END).all()
        assert (batch[name][:, :-1] != END).all()


def test_an_evaluation_has_every_token_once_and_the_same_spans():
    source = rows(training=False, size=1_000)
    whole = source.take(np.arange(len(source)), None)
    texts = []
    for row in range(len(source)):
        sides = [
            whole[name][row][whole[segments][row] > 0][:-1]
            for name, segments in (("tokens", "source_segments"), ("targets", "target_segments"))
        ]
        texts.append(restore(*sides, SENTINELS))
    np.testing.assert_array_equal(np.concatenate(texts), source.source.stream.tokens)
    for name, values in source.take(np.arange(len(source)), None).items():
        np.testing.assert_array_equal(values, whole[name])


def test_a_row_of_one_token_has_nothing_to_write():
    size = rows().noise.fitting(48).text
    source = rows(training=False, size=2 * size + 1)
    last = source.take(np.array([2]), None)
    assert not last["target_segments"].any()
    assert not last["source_segments"].any()


def test_the_same_seed_epoch_and_row_hide_the_same_whatever_the_batch():
    source = rows()
    whole = source.take(np.arange(len(source)), EPOCH)
    some = np.random.default_rng(1).permutation(len(source))[:7]
    for name, values in source.take(some, EPOCH).items():
        np.testing.assert_array_equal(values, whole[name][some])
    for other in (Epoch(3, 0, noise=4), Epoch(4, 0)):
        assert not np.array_equal(source.take(some, other)["targets"], whole["targets"][some])


def test_batches_are_pure_functions_of_seed_and_step_for_any_workers_and_shards():
    data, again = Shuffled(rows(), 8, seed=2), Shuffled(rows(), 8, seed=2)
    steps = range(3, 6)
    for step, read in zip(steps, batches(again, 3, 6, workers=2), strict=True):
        shards = [again.shard(index, 4)[step] for index in range(4)]
        for name, values in data[step].items():
            np.testing.assert_array_equal(read[name], values)
            for index, shard in enumerate(shards):
                np.testing.assert_array_equal(shard[name], values[index::4])
    held = InOrder(rows(training=False), 7)
    assert sum(int(held[index]["mask"].sum()) for index in range(len(held))) == len(rows(training=False))


@pytest.fixture
def text():
    return Text(path=str(ROOT / "LICENSE"), tokenizer=Subwords(300, sentinels=8), batch=2, length=32)


def test_sentinels_are_the_last_ids_and_their_names_in_a_text_are_text(text):
    tokenizer = text.build_tokenizer()
    assert sentinels_of(tokenizer).tolist() == list(range(tokenizer.vocab - 1, tokenizer.vocab - 9, -1))
    sample = "a <extra_id_0> b"
    assert tokenizer.decode(tokenizer.encode(sample)) == sample
    assert not np.isin(tokenizer.encode(sample), sentinels_of(tokenizer)).any()
    assert tokenizer.decode([tokenizer.vocab - 1]) == "<extra_id_0>"


def test_the_tokenizer_of_a_t5_folder_has_its_sentinels(tmp_path, text):
    """A folder as transformers writes it for T5: Unigram pieces, </s> = 1, padding = 0, sentinels at the end."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -2.0),
        *((c, -3.0) for c in map(chr, range(33, 127))),
    ]
    theirs = Tokenizer(models.Unigram(pieces, unk_id=2))
    theirs.pre_tokenizer, theirs.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    theirs.add_special_tokens(["<pad>", "</s>", "<unk>", *(AddedToken(f"<extra_id_{k}>") for k in range(7, -1, -1))])
    theirs.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}')
    spec = SpanCorruption(replace(text, tokenizer=Pretrained(str(tmp_path))))
    tokenizer = spec.build_tokenizer()
    assert (tokenizer.start, tokenizer.separator) == (0, 1)
    assert sentinels_of(tokenizer).tolist() == list(range(tokenizer.vocab - 1, tokenizer.vocab - 9, -1))
    batch = spec.train()[0]
    assert (batch["tokens"][:, -1] == 1).all()
    assert (batch["targets"][:, 0] == tokenizer.vocab - 1).all()


def test_sources_of_pairs_are_documents_as_they_are_read_for_their_targets(tmp_path, text):
    (tmp_path / "pairs.tsv").write_text("source\ttarget\n" + "One  Two\tx\nthree\ty\n" * 40)
    files = dict.fromkeys(("train_file", "eval_file"), str(tmp_path / "pairs.tsv"))
    spec = SourceText(pairs=PairFiles(**files, lower=True), tokenizer=Subwords(300, sentinels=8), batch=2, length=24)
    documents, _ = spec.documents()
    assert [b"".join(piece.encode() for piece in document.pieces()) for document in documents[:2]] == [
        b"one two",
        b"three",
    ]
    found = SpanCorruption(spec)
    assert found.lower
    assert len(found.train()[0]["tokens"]) == 2
    assert any("hidden" in line for line in found.log_lines())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rate": 0.0}, "data.rate is 0.0"),
        ({"rate": 1.0}, "data.rate is 1.0"),
        ({"span": 0.5}, "data.span is 0.5"),
        ({"rate": 0.6, "span": 1.0}, "hidden spans and the tokenizer 8 sentinels"),
        ({"text": "a text"}, "give Text"),
    ],
)
def test_what_cannot_be_hidden_is_refused_in_one_line(text, changes, words):
    with pytest.raises(BadInput, match=words) as error:
        replace(SpanCorruption(text), **changes).check(T5(vocab=300, depth=1, width=8, heads=2, hidden=8))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokenizer": Bytes()}, "has no <extra_id_0>"),
        ({"tokenizer": Subwords(300, sentinels=44)}, "at least 257"),
        ({"length": 2}, "data.text.length is 2"),
        ({"pack": True}, "not packed"),
    ],
)
def test_texts_that_cannot_be_hidden_are_refused_in_one_line(text, changes, words):
    with pytest.raises(BadInput, match=words):
        SpanCorruption(replace(text, **changes)).check(T5(vocab=300, depth=1, width=8, heads=2, hidden=8))
