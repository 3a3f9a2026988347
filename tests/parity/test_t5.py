"""T5 and mT5 against transformers: logits, padding, greedy answers, beam search, one update, and back again."""

import json

import jax
import numpy as np
import pytest

from jaxlm.decode import greedy
from jaxlm.decode.seq2seq import beam_tokens
from jaxlm.hub import pretrained
from jaxlm.losses.next_token import cross_entropy
from jaxlm.steps import Mean
from parity.parity_helpers import (
    assert_close,
    assert_round_trip,
    assert_the_same_adamw_step,
    save,
    tiny,
    torch,
    transformers,
)

pytestmark = pytest.mark.slow

VOCAB, SOURCE, TARGET = 23, 12, 9
SMALL = {"vocab_size": VOCAB, "d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 2, "num_heads": 4}
SMALL |= {"dropout_rate": 0.0, "decoder_start_token_id": 0}
UNTIED = {"tie_word_embeddings": False}
VARIANTS = {
    "1.0": SMALL,
    "1.0 near": SMALL | {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 6},
    "1.0 deep decoder": SMALL | {"num_decoder_layers": 3, "layer_norm_epsilon": 1e-2},
    "1.1": SMALL | UNTIED | {"feed_forward_proj": "gated-gelu"},
    "1.1 near": SMALL | UNTIED | {"feed_forward_proj": "gated-gelu", "relative_attention_num_buckets": 4},
    "untied relu": SMALL | UNTIED | {"num_decoder_layers": 1},
    "tied gated": SMALL | {"feed_forward_proj": "gated-gelu"},
    "mT5": SMALL | UNTIED | {"feed_forward_proj": "gated-gelu"},
}
KINDS = dict.fromkeys(VARIANTS, (transformers.T5ForConditionalGeneration, transformers.T5Config))
KINDS["mT5"] = (transformers.MT5ForConditionalGeneration, transformers.MT5Config)
LENGTHS = np.array([12, 7, 1])
REAL = np.arange(SOURCE)[None] < LENGTHS[:, None]


@pytest.fixture(scope="module", params=[(name, seed) for name in VARIANTS for seed in (0, 1)], ids=str)
def folder(request, tmp_path_factory):
    """Where a tiny model of theirs lies; its class ties what its config does not, until it reads other weights."""
    name, seed = request.param
    kind, config = KINDS[name]
    model = tiny(kind, config(**VARIANTS[name]), seed)
    if "tie_word_embeddings" in VARIANTS[name]:
        weight = 0.2 * torch.randn((VOCAB, 16), generator=torch.Generator().manual_seed(seed + 9))
        model.lm_head.weight = torch.nn.Parameter(weight)
    return save(model, tmp_path_factory.mktemp("hub") / "theirs")


@pytest.fixture
def theirs(folder):
    kind = getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])
    return kind.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def ours(folder):
    return pretrained.load_pretrained(folder)


def draw(seed, length):
    """None of them 0, the padding of theirs."""
    return np.random.default_rng(seed).integers(1, VOCAB, (3, length)).astype(np.int32)


def begun(targets):
    return np.pad(targets[:, :-1], ((0, 0), (1, 0)))


def tensor(array):
    return torch.from_numpy(np.asarray(array)).long()


@pytest.mark.parametrize("padded", [False, True])
def test_logits_and_encoded_texts(ours, theirs, padded):
    source, targets = draw(0, SOURCE), begun(draw(1, TARGET))
    segments = {"segments": REAL.astype(np.int32)} if padded else {}
    mask = {"attention_mask": tensor(REAL)} if padded else {}
    found = jax.jit(ours.model.apply)(ours.variables, source, targets, **segments)
    expected = theirs(tensor(source), decoder_input_ids=tensor(targets), **mask)
    assert_close(found, expected.logits)
    encoded = ours.model.apply(ours.variables, source, **segments, method="encode")
    assert_close(encoded, expected.encoder_last_hidden_state, where=REAL if padded else None)


@pytest.mark.parametrize("length", [200])
def test_logits_of_long_texts(ours, theirs, length):
    source, targets = draw(2, length), begun(draw(3, length))
    found = jax.jit(ours.model.apply)(ours.variables, source, targets)
    assert_close(found, theirs(tensor(source), decoder_input_ids=tensor(targets)).logits)


@pytest.mark.parametrize("stop", [None, 1])
def test_greedy_answers(ours, theirs, stop):
    source = draw(0, SOURCE)
    rows = [row[:length].tolist() for row, length in zip(source, LENGTHS, strict=True)]
    found = greedy(ours.model, ours.variables, rows, length=20, stop=stop)
    given = tensor(np.where(REAL, source, 0))
    options = {"attention_mask": tensor(REAL), "max_new_tokens": 20, "do_sample": False, "eos_token_id": stop}
    options |= {"use_cache": False}  # theirs (5.23) has as many layers as the encoder
    expected = [row[1:] for row in theirs.generate(given, **options).tolist()]
    assert found == [row[: row.index(stop)] if stop in row else row for row in expected]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beam_search(ours, theirs, penalty):
    """All hypotheses and their scores; they end with a token that is likely, or after ten."""
    given, beams, slots = np.where(REAL, draw(0, SOURCE), 0), 3, 10
    stop = greedy(ours.model, ours.variables, given.tolist(), length=4, stop=None)[0][-1]
    sources, sizes = (given, REAL.astype(np.int32)), {"beams": beams, "slots": slots, "penalty": penalty}
    found = beam_tokens(ours.model, ours.variables, *sources, 0, slots, stop, **sizes)
    options = {"attention_mask": tensor(REAL), "max_new_tokens": slots, "eos_token_id": stop, "do_sample": False}
    options |= {"num_beams": beams, "num_return_sequences": beams, "length_penalty": penalty, "early_stopping": True}
    options |= {"use_cache": False, "return_dict_in_generate": True, "output_scores": True}
    expected = theirs.generate(tensor(given), **options)
    rows = np.asarray(found.tokens).reshape(-1, slots).tolist()
    for row, size, other in zip(rows, found.lengths.ravel(), expected.sequences.tolist(), strict=True):
        assert row[:size] == other[1 : 1 + size]
        assert set(other[1 + size :]) <= {0, stop}
    assert_close(np.asarray(found.scores).ravel(), expected.sequences_scores)


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path / "ours")


def test_one_adamw_step(folder, ours, theirs):
    source, targets = draw(0, SOURCE), draw(1, TARGET)
    mask = (np.arange(TARGET)[None] < np.array([9, 4, 1])[:, None]).astype(np.float32)
    batch = {"tokens": source, "segments": REAL.astype(np.int32), "inputs": begun(targets), "targets": targets}
    batch["mask"] = mask

    def loss(params, variables, batch, key, *, train):
        logits = ours.model.apply(
            {"params": params}, batch["tokens"], batch["inputs"], segments=batch["segments"], train=train
        )
        nats, _ = cross_entropy(logits, batch["targets"])
        return {"loss": Mean((nats * batch["mask"]).sum(), batch["mask"].sum())}, {}

    labels = torch.where(tensor(mask) > 0, tensor(targets), -100)

    def their_loss(model):
        given = {"attention_mask": tensor(REAL), "decoder_input_ids": tensor(begun(targets)), "labels": labels}
        return model(tensor(source), **given).loss

    assert_the_same_adamw_step(folder, theirs, their_loss, loss, batch)
