"""Small GPTs that tests share, and their variables."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import pytest

from jaxlm.models.gpt import GPT

SMALL = GPT(vocab=11, depth=2, width=16, heads=4, context=12)
LLAMA = SMALL.clone(kv_heads=2, norm="rms", activation="swiglu", positions="rotary", hidden=24, bias=False, tied=False)
VARIANTS = {
    "gpt2": SMALL,
    "llama": LLAMA,
    "post-norm": SMALL.clone(pre_norm=False),
    "scan": SMALL.clone(scan=True, kv_heads=1),
    "scan llama": LLAMA.clone(scan=True, remat=True),
    "mistral": LLAMA.clone(window=3, head_width=6, attention_bias="qkv"),
}
every_variant = pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS.keys())


def tokens(seed=1, batch=2, length=10):
    return jax.random.randint(jax.random.key(seed), (batch, length), 0, SMALL.vocab)


@cache
def make_variables(model):
    """Parameters ten times as large as at the start, so that attention is far from uniform."""
    return jax.tree.map(lambda x: 10 * x, jax.jit(model.init)(jax.random.key(0), tokens()))


@partial(jax.jit, static_argnames=("model", "train"))
def forward(model, variables, batch, train=False, **inputs):
    return model.apply(variables, batch, train=train, **inputs)


def loss(model, variables, batch):
    return jnp.square(jax.nn.log_softmax(forward(model, variables, batch))).mean()
