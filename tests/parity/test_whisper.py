"""Whisper against transformers: logits, encoded sound, one update, and back again."""

import jax
import numpy as np
import pytest

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

VOCAB, PLACES, TARGET = 40, 10, 9
SMALL = {"vocab_size": VOCAB, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "num_mel_bins": 5}
SMALL |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
SMALL |= {"max_source_positions": PLACES, "max_target_positions": 30}
SMALL |= {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 2}
VARIANTS = {"even": SMALL, "distilled": SMALL | {"encoder_layers": 3, "decoder_layers": 1, "num_mel_bins": 7}}


@pytest.fixture(scope="module", params=[(name, seed) for name in VARIANTS for seed in (0, 1)], ids=str)
def folder(request, tmp_path_factory):
    name, seed = request.param
    model = tiny(transformers.WhisperForConditionalGeneration, transformers.WhisperConfig(**VARIANTS[name]), seed)
    return save(model, tmp_path_factory.mktemp("hub") / "theirs")


@pytest.fixture
def theirs(folder):
    kind = transformers.WhisperForConditionalGeneration
    return kind.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def ours(folder):
    return pretrained.load_pretrained(folder)


def sound(model):
    return np.random.default_rng(0).normal(size=(3, 2 * PLACES, model.bands)).astype(np.float32)


def draw(seed, length):
    return np.random.default_rng(seed).integers(3, VOCAB, (3, length)).astype(np.int32)


def begun(targets):
    return np.pad(targets[:, :-1], ((0, 0), (1, 0)), constant_values=2)


def tensor(array):
    return torch.from_numpy(np.asarray(array)).long()


def features(array):
    return torch.from_numpy(array).transpose(1, 2)


def test_logits_and_encoded_sound(ours, theirs):
    source, targets = sound(ours.model), begun(draw(1, TARGET))
    found = jax.jit(ours.model.apply)(ours.variables, source, targets)
    expected = theirs(features(source), decoder_input_ids=tensor(targets))
    assert_close(found, expected.logits)
    encoded = ours.model.apply(ours.variables, source, method="encode")
    assert_close(encoded, expected.encoder_last_hidden_state)


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path / "ours")


def test_one_adamw_step(folder, ours, theirs):
    targets = draw(1, TARGET)
    mask = (np.arange(TARGET)[None] < np.array([9, 4, 1])[:, None]).astype(np.float32)
    batch = {"features": sound(ours.model), "inputs": begun(targets), "targets": targets, "mask": mask}

    def loss(params, variables, batch, key, *, train):
        logits = ours.model.apply({"params": params}, batch["features"], batch["inputs"], train=train)
        nats, _ = cross_entropy(logits, batch["targets"])
        return {"loss": Mean((nats * batch["mask"]).sum(), batch["mask"].sum())}, {}

    labels = torch.where(tensor(mask) > 0, tensor(targets), -100)

    def their_loss(model):
        given = {"decoder_input_ids": tensor(begun(targets)), "labels": labels}
        return model(features(batch["features"]), **given).loss

    theirs.model.encoder.embed_positions.weight.requires_grad_(True).register_hook(torch.zeros_like)  # but for decay
    assert_the_same_adamw_step(folder, theirs, their_loss, loss, batch)
