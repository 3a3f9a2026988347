"""GPT-2, Llama, Mistral and Qwen2 against transformers: logits, padding, greedy text, one update, and back again."""

import jax
import numpy as np
import pytest

from jaxlm.decode import generate
from jaxlm.hub import pretrained
from jaxlm.losses import next_token
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

VOCAB = 23
GPT2 = {"vocab_size": VOCAB, "n_layer": 2, "n_embd": 16, "n_head": 4, "n_positions": 24, "bos_token_id": 0}
GPT2 |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "eos_token_id": 0}
LLAMA = {"vocab_size": VOCAB, "num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 4, "bos_token_id": 0}
LLAMA |= {"num_key_value_heads": 4, "intermediate_size": 24, "max_position_embeddings": 24, "eos_token_id": 0}
SCALED = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "rope_theta": 500.0}
SCALED |= {"original_max_position_embeddings": 12}
SLIDING = {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 0}
VARIANTS = {
    "gpt2": GPT2,
    "gpt2 untied": GPT2 | {"tie_word_embeddings": False, "n_inner": 24},
    "gpt2 gelu": GPT2 | {"activation_function": "gelu", "layer_norm_epsilon": 1e-2},
    "gpt2 relu": GPT2 | {"activation_function": "relu"},
    "llama": LLAMA,
    "llama tied, grouped": LLAMA | {"tie_word_embeddings": True, "num_key_value_heads": 2, "rms_norm_eps": 1e-2},
    "llama biased": LLAMA | {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 1},
    "llama attention bias": LLAMA | {"attention_bias": True},
    "llama wide heads": LLAMA | {"head_dim": 6, "num_key_value_heads": 2},
    "llama theta": LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}},
    "llama scaled": LLAMA | {"rope_parameters": SCALED, "head_dim": 8},
    "mistral": LLAMA | {"sliding_window": 5, "num_key_value_heads": 2},
    "mistral full": LLAMA | {"sliding_window": None},
    "qwen2": LLAMA | {"num_key_value_heads": 2},
    "qwen2 window": LLAMA | SLIDING | {"tie_word_embeddings": True},
}
KINDS = {
    "gpt2": (transformers.GPT2LMHeadModel, transformers.GPT2Config),
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig),
    "mistral": (transformers.MistralForCausalLM, transformers.MistralConfig),
    "qwen2": (transformers.Qwen2ForCausalLM, transformers.Qwen2Config),
}


@pytest.fixture(scope="module", params=[(name, seed) for name in VARIANTS for seed in (0, 1)], ids=str)
def folder(request, tmp_path_factory):
    """Where a tiny model of theirs lies."""
    name, seed = request.param
    kind, config = KINDS[name.split()[0]]
    return save(tiny(kind, config(**VARIANTS[name]), seed), tmp_path_factory.mktemp("hub") / "theirs")


@pytest.fixture
def theirs(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def ours(folder):
    return pretrained.load_pretrained(folder)


def tokens(shape=(3, 12)):
    return np.random.default_rng(0).integers(1, VOCAB, shape).astype(np.int32)


def tensor(array):
    return torch.from_numpy(np.asarray(array)).long()


def test_logits(ours, theirs):
    found = jax.jit(ours.model.apply)(ours.variables, tokens())
    assert_close(found, theirs(tensor(tokens())).logits)


def test_what_the_read_out_is_applied_to(ours, theirs):
    found = jax.jit(lambda variables, batch: ours.model.apply(variables, batch, method="encode"))
    assert_close(found(ours.variables, tokens()), theirs(tensor(tokens()), output_hidden_states=True).hidden_states[-1])


@pytest.mark.parametrize("side", ["left", "right"])
def test_logits_of_padded_rows(ours, theirs, side):
    real = np.arange(12)[None] < np.array([12, 7, 1])[:, None]
    real = real[:, ::-1].copy() if side == "left" else real
    positions = np.maximum(real.cumsum(1) - 1, 0)
    found = jax.jit(ours.model.apply)(ours.variables, tokens(), segments=real.astype(np.int32))
    expected = theirs(tensor(tokens()), attention_mask=tensor(real), position_ids=tensor(positions)).logits
    assert_close(found, expected, where=real)


def test_round_trip(folder, tmp_path):
    assert_round_trip(folder, tmp_path / "ours")


def test_one_adamw_step(folder, ours, theirs):
    batch = {"tokens": tokens()[:, :-1], "targets": tokens()[:, 1:]}
    inputs = tensor(tokens())
    loss = next_token(ours.model)
    assert_the_same_adamw_step(folder, theirs, lambda model: model(inputs, labels=inputs).loss, loss, batch)


def test_greedy_generation(ours, theirs):
    prompt = tokens((1, 5))
    found = generate(ours.model, ours.variables, prompt.tolist(), jax.random.key(0), length=18, temperature=0)
    expected = theirs.generate(tensor(prompt), max_new_tokens=18, do_sample=False, eos_token_id=None)
    assert found[0] == expected[0, 5:].tolist()
