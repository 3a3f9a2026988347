"""The original transformer computes what PyTorch's layers compute with the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxlm.models.transformer import Transformer
from jaxlm.nn.position import sinusoids

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.slow

WIDTH, HEADS, HIDDEN, VOCAB = 16, 4, 24, 13


def to_torch(x):
    return torch.from_numpy(np.array(x, np.float32))


def load_attention(theirs, ours):
    """Put our projections into a MultiheadAttention, whose kernels are transposed and joined."""
    parts = [ours[name] for name in ("query", "key", "value")]
    theirs.in_proj_weight.data = torch.cat([to_torch(part["kernel"]).T for part in parts])
    theirs.in_proj_bias.data = torch.cat([to_torch(part["bias"]) for part in parts])
    load_linear(theirs.out_proj, ours["output"])


def load_linear(theirs, ours):
    theirs.weight.data, theirs.bias.data = to_torch(ours["kernel"]).T, to_torch(ours["bias"])


def load_norm(theirs, ours):
    theirs.weight.data, theirs.bias.data = to_torch(ours["scale"]), to_torch(ours["bias"])


def load_layer(theirs, ours):
    load_attention(theirs.self_attn, ours["attention"])
    norms = ["attention_norm", "feed_forward_norm"]
    if "source_attention" in ours:
        load_attention(theirs.multihead_attn, ours["source_attention"])
        norms.insert(1, "source_norm")
    for number, name in enumerate(norms, 1):
        load_norm(getattr(theirs, f"norm{number}"), ours[name])
    load_linear(theirs.linear1, ours["feed_forward"]["up"])
    load_linear(theirs.linear2, ours["feed_forward"]["down"])


@pytest.mark.parametrize("pre_norm", [True, False])
def test_logits_equal_those_of_torch_layers(pre_norm):
    model = Transformer(vocab=VOCAB, depth=2, width=WIDTH, heads=HEADS, hidden=HIDDEN, pre_norm=pre_norm)
    tokens = jnp.array([[3, 4, 5, 6, 7], [8, 9, 0, 0, 0]])
    targets = jnp.array([[1, 2, 3, 4], [5, 6, 7, 0]])
    variables = model.init(jax.random.key(0), tokens, targets)
    draw = iter(jax.random.split(jax.random.key(1), 200))
    params = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(draw), x.shape), variables["params"])
    segments, target_segments = (np.asarray(x > 0, np.int32) for x in (tokens, targets))
    target_segments[:, 0] = 1
    layout = {"segments": segments, "target_segments": target_segments}
    ours = model.apply({"params": params}, tokens, targets, **layout)

    options = {"dim_feedforward": HIDDEN, "dropout": 0.0, "batch_first": True, "norm_first": pre_norm}
    table = to_torch(params["embed"]["embedding"])

    def embed(ids):
        place = to_torch(sinusoids(jnp.arange(ids.shape[1]), WIDTH))
        return table[torch.from_numpy(np.array(ids))] * WIDTH**0.5 + place

    memory, hidden = embed(tokens), embed(targets)
    hide, hide_target = torch.from_numpy(segments == 0), torch.from_numpy(target_segments == 0)
    for layer in range(2):
        theirs = torch.nn.TransformerEncoderLayer(WIDTH, HEADS, **options)
        load_layer(theirs, params["encoder"][f"block_{layer}"])
        memory = theirs(memory, src_key_padding_mask=hide)
    memory = last_norm(memory, params["encoder"], pre_norm)
    future = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
    for layer in range(2):
        theirs = torch.nn.TransformerDecoderLayer(WIDTH, HEADS, **options)
        load_layer(theirs, params["decoder"][f"block_{layer}"])
        hidden = theirs(hidden, memory, tgt_mask=future, tgt_key_padding_mask=hide_target, memory_key_padding_mask=hide)
    expected = last_norm(hidden, params["decoder"], pre_norm) @ table.T
    real = target_segments > 0
    np.testing.assert_allclose(np.asarray(ours)[real], expected.detach().numpy()[real], rtol=1e-4, atol=1e-4)


def last_norm(x, stack, pre_norm):
    if not pre_norm:
        return x
    norm = torch.nn.LayerNorm(WIDTH)
    load_norm(norm, stack["final_norm"])
    return norm(x)
