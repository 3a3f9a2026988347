"""A diffusion model (Ho et al. 2020, arXiv:2006.11239), whose noise is drawn from a key of each example."""

import dataclasses
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import RUN, Rows, keeps_the_laws, places, records

from jaxlm.optim import Adam
from jaxlm.steps import Mean
from jaxlm.train import Config, train
from jaxlm.train.compose import supervised


@dataclass(frozen=True)
class Points(Rows):
    def arrays(self):
        return {"x": np.random.default_rng(0).normal(2, 0.5, (21, 3)).astype(np.float32)}


class Denoiser(nn.Module):
    """Points [B, 3], the last of which is the time, to the noise in them [B, 2]."""

    @nn.compact
    def __call__(self, x_BF):
        return nn.Dense(2)(nn.tanh(nn.Dense(8)(x_BF)))


def diffusion(model):
    def noised(x, key):
        """x at a time drawn by its key, with the time, and the noise in it."""
        for_time, for_noise = jax.random.split(key)
        time, noise = jax.random.uniform(for_time), jax.random.normal(for_noise, (2,))
        mixed = jnp.cos(time * jnp.pi / 2) * x[:2] + jnp.sin(time * jnp.pi / 2) * noise
        return jnp.append(mixed, time), noise

    def loss(params, variables, batch, key, *, train):
        keys = jax.random.wrap_key_data(batch["keys"], impl="threefry2x32")
        inputs, noise = jax.vmap(noised)(batch["x"], keys)
        error = ((model.apply({"params": params}, inputs) - noise) ** 2).sum(1)
        weight = batch.get("mask", jnp.ones(len(error)))
        return {"loss": Mean((error * weight).sum(), weight.sum())}, variables

    return loss


def build(config, place):
    return supervised(lambda config: diffusion(config.model), config, place)


CONFIG = Config(model=Denoiser(), data=Points(), optim=Adam(peak_lr=1e-2), run=RUN)


@places
def test_diffusion(others, tmp_path):
    keeps_the_laws(build, CONFIG, tmp_path, others)


def recorded(folder, eval_batch=8, peak_lr=1e-2, **run):
    data = dataclasses.replace(CONFIG.data, eval_batch=eval_batch)
    config = Config(CONFIG.model, data, Adam(peak_lr=peak_lr), run=dataclasses.replace(RUN, **run))
    train(build, config, folder)
    return records(folder)


def test_noise_depends_on_no_batch_size(tmp_path):
    whole, parts = recorded(tmp_path / "8"), recorded(tmp_path / "3", eval_batch=3, accumulate=2)
    assert parts == [pytest.approx(record, rel=1e-5) for record in whole]


def test_noise_depends_on_the_seed_in_training_alone(tmp_path):
    one, other = (recorded(tmp_path / str(seed), peak_lr=1e-30, noise_seed=seed) for seed in (1, 2))
    assert [record.get("eval/loss") for record in one] == [record.get("eval/loss") for record in other]
    assert one[0]["train/loss"] != pytest.approx(other[0]["train/loss"], rel=1e-2)
