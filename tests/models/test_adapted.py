"""A frozen model with adapters: it is a model again, and only the adapters are trained."""

import copy
import pickle
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxlm import steps
from jaxlm.decode import generate
from jaxlm.losses import TEXT, classification, next_token
from jaxlm.models.adapted import Adapted, share
from jaxlm.models.gpt import GPT
from jaxlm.models.heads import Classifier
from jaxlm.nn.linear import Dense
from jaxlm.nn.lora import LoRA
from jaxlm.nn.quantise import dequantise
from jaxlm.optim import AdamW
from jaxlm.steps import transforms

BASE = GPT(vocab=11, depth=2, width=8, heads=2, context=12)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 11, (4, 6)), jnp.int32)
BATCH = {"tokens": TOKENS, "targets": jnp.roll(TOKENS, -1, axis=1)}
TX = AdamW(peak_lr=1e-2, warmup=0)(10)


def variables_of(model, moved=True):
    variables = jax.jit(model.init)(jax.random.key(0), TOKENS)
    numbers = np.random.default_rng(1)
    move = lambda x: x + moved * 0.3 * numbers.normal(size=x.shape).astype(np.float32)  # noqa: E731
    return variables | {"params": jax.tree.map(move, variables["params"])}


def apply(model, variables):
    return jax.jit(lambda variables: model.apply(variables, TOKENS))(variables)


@pytest.mark.parametrize("lora", [LoRA(rank=0), LoRA(rank=2)], ids=["rank 0", "fresh"])
def test_rank_zero_and_fresh_adapters_are_the_base_bit_for_bit(lora):
    base = jax.jit(BASE.init)(jax.random.key(0), TOKENS)
    adapted = jax.jit(Adapted(BASE, lora).init)(jax.random.key(0), TOKENS)
    np.testing.assert_array_equal(apply(Adapted(BASE, lora), adapted), apply(BASE, base))


@pytest.mark.parametrize("bits", [4, 8])
def test_fresh_dora_on_quantised_weights_is_the_quantised_base(bits):
    """Its lengths are those of the rounded columns, also where the weights are taken from elsewhere (`derive`)."""
    model = Adapted(BASE, LoRA(rank=2, dora=True), bits)
    variables = jax.jit(model.init)(jax.random.key(0), TOKENS)
    base = jax.jit(lambda variables: model.apply_base(variables, TOKENS, train=False))(variables)
    np.testing.assert_allclose(apply(model, variables), base, atol=1e-6)
    derived = model.derive(jax.jit(BASE.init)(jax.random.key(0), TOKENS))["params"]
    drawn = flatten_dict(variables["params"])
    for path, lengths in flatten_dict(derived).items():
        np.testing.assert_allclose(drawn[path], lengths, rtol=1e-6)


def beside_each_layer(lora, variables):
    """The adapted model by its other formula: x W + s (x A) B beside every dense layer, by Linen's interceptors."""

    def add(call, args, kwargs, context):
        y = call(*args, **kwargs)
        if not isinstance(context.module, Dense) or context.method_name != "__call__":
            return y
        found = variables["params"]
        for name in (*context.module.path, "kernel"):
            found = found[name]
        return y + lora.alpha / lora.rank * ((args[0] @ found["lora_a"]) @ found["lora_b"])

    with nn.intercept_methods(add):
        return apply(BASE, {"params": variables["base"]})


def test_merged_weights_give_what_adapters_beside_the_layers_give():
    model = Adapted(BASE, LoRA(rank=2))
    variables = variables_of(model)
    merged = apply(model, variables)
    assert np.abs(merged - apply(BASE, {"params": variables["base"]})).max() > 1e-3
    np.testing.assert_allclose(merged, beside_each_layer(model.lora, variables), atol=1e-5)
    np.testing.assert_allclose(merged, apply(BASE, model.merged(variables)), atol=1e-6)


@pytest.mark.slow
def test_a_scanned_model_takes_the_adapters_of_an_unrolled_one():
    unrolled, scanned = Adapted(BASE, LoRA(rank=2)), Adapted(BASE.clone(scan=True), LoRA(rank=2))
    variables = variables_of(unrolled)

    def stacked(tree):
        layers = [tree[f"block_{layer}"] for layer in range(2)]
        rest = {name: leaf for name, leaf in tree.items() if not name.startswith("block_")}
        return rest | {"blocks": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}

    restacked = {name: stacked(tree) for name, tree in variables.items()}
    shapes = jax.eval_shape(scanned.init, jax.random.key(0), TOKENS)
    assert jax.tree.map(lambda x: x.shape, shapes) == jax.tree.map(lambda x: x.shape, restacked)
    np.testing.assert_allclose(apply(scanned, restacked), apply(unrolled, variables), atol=1e-5)


def trained(model, loss, batch, count=2):
    step = jax.jit(steps.update(steps.grad(loss), TX))
    state = jax.jit(lambda key: steps.init(model, TX, batch["tokens"][:1], key))(jax.random.key(0))
    after = state
    for _ in range(count):
        after, _ = step(after, batch)
    return state, after


@pytest.mark.parametrize("bits", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_training_moves_the_adapters_alone_and_keeps_state_for_them_alone(bits):
    model = Adapted(BASE, LoRA(rank=2, dora=True), bits)
    before, after = trained(model, next_token(model), BATCH)
    jax.tree.map(np.testing.assert_array_equal, after.variables, before.variables)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), after.params, before.params)))
    moments = [leaf for leaf in jax.tree.leaves(after.opt_state) if leaf.ndim]
    assert sum(leaf.size for leaf in moments) == 2 * sum(leaf.size for leaf in jax.tree.leaves(after.params))


def test_a_new_head_is_trained_in_full_beside_the_adapters():
    model = Adapted(Classifier(BASE, 3), LoRA(rank=2, full="^head/"))
    batch = {"tokens": TOKENS, "label": jnp.asarray([0, 1, 2, 0]), "segments": jnp.ones_like(TOKENS)}
    before, after = trained(model, classification(model, inputs=TEXT), batch)
    assert before.params["head"]["kernel"].shape == after.params["head"]["kernel"].shape == (8, 3)
    assert (before.params["head"]["kernel"] != after.params["head"]["kernel"]).any()
    jax.tree.map(np.testing.assert_array_equal, after.variables, before.variables)


@pytest.mark.slow
def test_casting_the_adapters_casts_the_computation():
    model = Adapted(BASE, LoRA(rank=2), 8)
    variables = variables_of(model)
    params = variables.pop("params")
    seen = []

    class Seen:
        def apply(self, variables, *args, **options):
            logits = model.apply(variables, *args, **options)
            seen.append(logits.dtype)
            return logits

    loss = transforms.cast(next_token(Seen()), jnp.bfloat16)
    half, _ = jax.jit(partial(loss, train=False))(params, variables, BATCH, jax.random.key(0))
    whole, _ = jax.jit(partial(next_token(model), train=False))(params, variables, BATCH, jax.random.key(0))
    assert seen == [jnp.bfloat16]
    assert half["loss"].compute() == pytest.approx(whole["loss"].compute(), rel=0.02)


def test_it_decodes_as_the_merged_model_does():
    model = Adapted(BASE, LoRA(rank=2))
    variables = variables_of(model)
    options = {"length": 4, "temperature": 0.0}
    found = generate(model, variables, [[1, 2], [3]], jax.random.key(0), **options)
    assert found == generate(BASE, model.merged(variables), [[1, 2], [3]], jax.random.key(0), **options)


def test_the_base_is_what_the_model_is_without_its_adapters():
    model = Adapted(BASE, LoRA(rank=2), 8)
    variables = variables_of(model)
    found = jax.jit(model.apply_base)(variables, TOKENS)
    np.testing.assert_allclose(found, apply(BASE, {"params": dequantise(variables["base"])}), atol=1e-6)


def test_training_in_full_beside_a_frozen_start():
    model = Adapted(BASE, LoRA(rank=0, full="."))
    variables = variables_of(model)
    np.testing.assert_array_equal(apply(model, variables), apply(BASE, {"params": variables["params"]}))
    found = jax.jit(model.apply_base)(variables, TOKENS)
    np.testing.assert_allclose(found, apply(BASE, {"params": variables["base"]}), atol=1e-6)


def test_it_is_a_value():
    model = Adapted(BASE, LoRA(rank=2))
    assert model == copy.deepcopy(model) == pickle.loads(pickle.dumps(model))
    assert hash(model) == hash(Adapted(BASE, LoRA(rank=2)))
    assert (model.vocab, model.context) == (11, 12)
    with pytest.raises(AttributeError, match="nothing"):
        _ = model.nothing


def test_the_share_that_is_trained_is_told():
    count = BASE.parameter_count()
    assert share(BASE, TOKENS) == f"all {count:,} parameters are trained"
    adapters = 2 * 2 * (8 + 24 + 8 + 8 + 8 + 32 + 32 + 8)  # rank 2, two layers: qkv, output, up, down
    told = f"{adapters} parameters are trained ({adapters / (adapters + count):.2%}) on {count:,} frozen ones"
    assert share(Adapted(BASE, LoRA(rank=2)), TOKENS) == told + " in 0.0 MB"
    assert share(Adapted(BASE, LoRA(rank=2), 4), TOKENS) == told + " in 0.0 MB"
