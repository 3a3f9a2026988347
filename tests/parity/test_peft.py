"""Adapters of ours and of PEFT are the same function, in both directions."""

import os
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

from jaxlm.hub import peft as layout
from jaxlm.hub import pretrained
from jaxlm.nn.lora import LoRA
from parity.parity_helpers import assert_close, save, tiny

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TOKENS = np.random.default_rng(0).integers(0, 31, (2, 7))
LLAMA = {
    "vocab_size": 31,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
}
GPT2 = {"vocab_size": 31, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
KINDS = {
    "llama": lambda: tiny(transformers.LlamaForCausalLM, transformers.LlamaConfig(**LLAMA), 0),
    "gpt2": lambda: tiny(transformers.GPT2LMHeadModel, transformers.GPT2Config(**GPT2), 0),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
with_and_without = pytest.mark.parametrize("dora", [False, True])


def moved(adapters):
    numbers = np.random.default_rng(1)
    return jax.tree.map(lambda x: x + 0.2 * numbers.normal(size=x.shape).astype(np.float32), adapters)


def their_logits(model):
    with torch.no_grad():
        return model.eval()(torch.tensor(TOKENS)).logits


@every_kind
@with_and_without
def test_peft_reads_what_we_write_and_so_do_we(kind, dora, tmp_path):
    theirs = KINDS[kind]()
    model, leaves = pretrained.load_pretrained(save(theirs, tmp_path / "base"))
    params = pretrained.tree_from_leaves(leaves)["params"]
    lora = LoRA(rank=3, alpha=7.5, dora=dora)
    adapters = moved(lora.init(jax.random.key(0), params))
    (tmp_path / "adapter").mkdir()
    layout.save_adapters(tmp_path / "adapter", model, lora, adapters)
    merged = model.apply({"params": lora.merge(params, adapters)}, jnp.asarray(TOKENS))
    base = model.apply({"params": params}, jnp.asarray(TOKENS))
    adapted = peft.PeftModel.from_pretrained(theirs, str(tmp_path / "adapter"))
    assert np.abs(merged - base).max() > 0.1
    assert_close(merged, their_logits(adapted))
    again = layout.load_adapters(tmp_path / "adapter", model)
    assert (again.lora.rank, again.lora.alpha, again.lora.dora) == (3, 7.5, dora)
    jax.tree.map(np.testing.assert_array_equal, again.adapters, adapters)


@every_kind
@with_and_without
def test_we_read_what_peft_writes(kind, dora, tmp_path):
    theirs = KINDS[kind]()
    model, leaves = pretrained.load_pretrained(save(theirs, tmp_path / "base"))
    params = pretrained.tree_from_leaves(leaves)["params"]
    some = ["q_proj", "v_proj", "down_proj", *(["k_proj"] if dora else [])]
    names = some if kind == "llama" else ["c_attn", "c_fc"]
    settings = peft.LoraConfig(
        r=2, lora_alpha=6, target_modules=names, use_dora=dora, fan_in_fan_out=kind == "gpt2", task_type="CAUSAL_LM"
    )
    adapted = peft.get_peft_model(theirs, settings)
    draw = torch.Generator().manual_seed(2)
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=draw)
    adapted.save_pretrained(tmp_path / "adapter")
    lora, adapters = layout.load_adapters(tmp_path / "adapter", model)
    merged = model.apply({"params": lora.merge(params, adapters)}, jnp.asarray(TOKENS))
    assert_close(merged, their_logits(adapted))
