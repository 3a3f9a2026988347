"""Hidden words: the shares that were asked for, whole words, and draws that depend on seed, epoch and row alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxlm.data import Bytes, Masked, Text, WordPiece, batches
from jaxlm.data.epoch import Epoch
from jaxlm.data.order import Shuffled
from jaxlm.data.text.masking import MaskedRows, Vocabulary, choose_targets, disguise, framed, vocabulary_of
from jaxlm.data.text.packing import Packed
from jaxlm.data.text.windows import Stream, Windows
from jaxlm.data.tokenizers.protocol import Frame
from jaxlm.errors import BadInput

VOCAB, SPECIAL, MASK = 50, 5, 4
BEGINS = np.arange(VOCAB) % 3 > 0  # a third of the tokens go on with a word
WORDS = Vocabulary(MASK, np.arange(SPECIAL, VOCAB), BEGINS)
FRAME = Frame((2,), (3,), (3,), 1)
EPOCH = Epoch(3, 0)


def rows(length=62, size=40_000, training=True, starts=None, **shares):
    tokens = np.random.default_rng(0).integers(SPECIAL, VOCAB, size)
    stream = Stream(tokens, starts, f"made up {size}")
    return MaskedRows(Windows(stream, length, training, shift=0), FRAME, WORDS, **shares)


def within_binomial_bounds(count, of, share):
    """Whether a count lies where all but one in a million of its draws would."""
    low, high = stats.binom.interval(1 - 1e-6, of, share)
    return low <= count <= high


def every_row(source, epoch=EPOCH):
    return source.take(np.arange(len(source)), epoch)


@pytest.mark.parametrize(("rate", "hidden", "random"), [(0.15, 0.8, 0.1), (0.4, 0.5, 0.5), (1.0, 0.0, 0.0)])
def test_shares_are_those_asked_for(rate, hidden, random):
    source = rows(rate=rate, hidden=hidden, random=random)
    batch = every_row(source)
    tokens, targets, chosen = batch["tokens"], batch["targets"], batch["mask"] > 0
    words = BEGINS[targets] & (targets >= SPECIAL)
    assert within_binomial_bounds((chosen & words).sum(), words.sum(), rate)
    assert within_binomial_bounds((tokens == MASK).sum(), chosen.sum(), hidden)
    other = chosen & (tokens != MASK) & (tokens != targets)
    assert within_binomial_bounds(other.sum(), chosen.sum(), random * (1 - 1 / (VOCAB - SPECIAL)))
    np.testing.assert_array_equal(tokens[~chosen], targets[~chosen])


def test_what_stands_in_for_a_token_is_any_ordinary_one():
    batch = every_row(rows(rate=1.0, hidden=0.0, random=1.0))
    drawn = batch["tokens"][batch["mask"] > 0]
    assert drawn.min() == SPECIAL
    counts = np.bincount(drawn, minlength=VOCAB)[SPECIAL:]
    assert stats.chisquare(counts).pvalue > 1e-6


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_words_are_hidden_whole_and_special_tokens_never(data):
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tokens = draw.integers(0, VOCAB, (4, data.draw(st.integers(1, 30))))
    segments = np.sort(draw.integers(0, 3, tokens.shape), axis=1)
    raw = draw.integers(0, 2**64, tokens.shape, dtype=np.uint64)
    chosen = choose_targets(tokens, segments, WORDS, data.draw(st.floats(0.1, 1)), raw)
    assert not chosen[tokens < SPECIAL].any()
    assert not chosen[segments == 0].any()
    for b, t in np.argwhere(np.ones_like(chosen[:, 1:])):  # a token that goes on with a word shares its fate
        goes_on = not BEGINS[tokens[b, t + 1]] and min(tokens[b, t], tokens[b, t + 1]) >= SPECIAL
        if goes_on and segments[b, t] == segments[b, t + 1] > 0:
            assert chosen[b, t + 1] == chosen[b, t]


def test_the_same_seed_epoch_and_row_hide_the_same_whatever_the_batch():
    source = rows()
    whole = every_row(source)
    shuffled = np.random.default_rng(1).permutation(len(source))[:7]
    for name, values in source.take(shuffled, EPOCH).items():
        np.testing.assert_array_equal(values, whole[name][shuffled])
    # The windows of an epoch begin elsewhere as well, so the comparison is of what is hidden alone.
    for other in (Epoch(3, 1), Epoch(3, 0, noise=4), None):
        assert not np.array_equal(every_row(source, other)["mask"], whole["mask"])
    kept = every_row(source, Epoch(3, 0, noise=4))
    np.testing.assert_array_equal(kept["targets"], whole["targets"])


def test_batches_are_pure_functions_of_seed_and_step_for_any_workers_and_shards():
    data = Shuffled(rows(), 8, seed=2)
    again = Shuffled(rows(), 8, seed=2)
    steps = (0, 3, len(data), 2 * len(data) + 1)
    for step in steps:
        shards = [again.shard(index, 4)[step] for index in range(4)]
        for name, values in data[step].items():
            np.testing.assert_array_equal(again[step][name], values)
            np.testing.assert_array_equal(np.stack([shard[name] for shard in shards], 1).reshape(8, -1), values)
    for step, batch in zip(range(4), batches(data, 0, 4), strict=True):
        for name, values in batch.items():
            np.testing.assert_array_equal(values, data[step][name])
    assert not np.array_equal(Shuffled(rows(), 8, seed=2, noise=1)[0]["mask"], data[0]["mask"])


def test_an_evaluation_reads_every_token_once_and_hides_the_same_every_time():
    for size, count in ((1000, 34), (1020, 34), (1021, 35)):  # the last row is cut short, is full, has one token
        source = rows(length=30, size=size, training=False)
        batch = every_row(source, None)
        real = (batch["segments"] > 0) & (batch["targets"] >= SPECIAL)
        np.testing.assert_array_equal(batch["targets"][real], source.source.stream.tokens)
        assert len(real) == count
        for name, values in every_row(source, None).items():
            np.testing.assert_array_equal(values, batch[name])


def test_packed_documents_are_read_to_their_last_token():
    tokens, starts = np.arange(SPECIAL, SPECIAL + 12), np.array([0, 5, 6])
    source = MaskedRows(Packed(Stream(tokens, starts, "three"), 4, shift=0), FRAME, WORDS)
    for epoch in (None, EPOCH):
        batch = every_row(source, epoch)
        real = (batch["segments"] > 0) & (batch["targets"] >= SPECIAL)
        np.testing.assert_array_equal(np.sort(batch["targets"][real]), tokens)


def test_special_tokens_stand_around_what_is_real():
    tokens = np.array([[7, 8, 9], [7, 8, 0], [0, 0, 0]])
    segments = np.array([[1, 1, 2], [1, 1, 0], [0, 0, 0]])
    found = framed(tokens, segments, Frame((2,), (), (3, 4)))
    np.testing.assert_array_equal(found[0], [[2, 7, 8, 9, 3, 4], [2, 7, 8, 3, 4, 0], [0] * 6])
    np.testing.assert_array_equal(found[1], [[1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 1, 0], [0] * 6])


def test_documents_are_kept_apart():
    batch = every_row(rows(starts=np.array([0, 100, 20_000])))
    assert batch["segments"].max() == 2
    assert "segments" not in every_row(rows())


def test_nothing_chosen_is_nothing_changed():
    tokens = np.arange(SPECIAL, VOCAB)[None]
    raw = np.zeros(tokens.shape, np.uint64)
    np.testing.assert_array_equal(disguise(tokens, tokens < 0, WORDS, 0.8, 0.1, raw, raw), tokens)


@pytest.fixture(scope="module")
def novel(tmp_path_factory):
    """A text of some lines, with words that no small vocabulary has whole."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    lines = [f"Unbelievable! The {word} walked unhesitatingly home, didn't it?" for word in ("cat", "dog", "fox")]
    path.write_text("\n".join(lines * 60))
    return Masked(Text(path=str(path), tokenizer=WordPiece(60), batch=4, length=24))


def test_the_words_of_a_text_are_hidden_whole(novel):
    novel.check(SimpleNamespace(context=24, vocab=60))
    tokenizer = novel.build_tokenizer()
    begins = vocabulary_of(tokenizer).begins
    ids = tokenizer.encode("unhesitatingly home")
    assert begins[ids].sum() == 2 < len(ids)
    batch, special = novel.train(0)[0], tokenizer.special
    assert (batch["targets"][:, 0] == special.cls).all()
    assert (batch["targets"][:, -1] == special.sep).all()
    assert not batch["mask"][:, [0, -1]].any()
    pieces = replace(novel, whole_words=False).train(0)[0]
    assert not np.array_equal(pieces["mask"], batch["mask"])


def test_the_fingerprint_tells_shares_and_vocabularies_apart(novel):
    specs = [novel, replace(novel, rate=0.2), replace(novel, hidden=0.7), replace(novel, whole_words=False)]
    found = [spec.train(0).fingerprint() for spec in specs]
    assert len(set(found)) == len(specs)
    assert found[0] == replace(novel).train(0).fingerprint()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.0}, "data.rate is 0.0"),
        ({"hidden": 0.8, "random": 0.3}, "data.hidden 0.8 and data.random 0.3"),
        ({"text": 3}, r"data.text is 3: give Text\(...\)"),
    ],
)
def test_bad_shares_are_one_clear_line(novel, changes, message):
    with pytest.raises(BadInput, match=f"^{message}"):
        replace(novel, **changes).train(0)


def test_a_text_needs_a_tokenizer_with_a_mask_and_room_for_its_frame(novel):
    with pytest.raises(BadInput, match=r"^the tokenizer has no \[MASK\]"):
        replace(novel, text=replace(novel.text, tokenizer=Bytes())).train(0)
    with pytest.raises(BadInput, match=r"^data.text.length is 2, and 2 are special"):
        replace(novel, text=replace(novel.text, length=2)).train(0)
