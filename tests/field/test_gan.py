"""A generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661): two nets, two losses, one state."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from harness import RUN, Rows, keeps_the_laws, places

from jaxlm import steps
from jaxlm.models.mlp import MLP
from jaxlm.optim import Adam
from jaxlm.steps import Mean, transforms
from jaxlm.train import Config, Evaluation, Experiment


@dataclass(frozen=True)
class Ring(Rows):
    def arrays(self):
        angle = np.linspace(0, 2 * np.pi, 21, dtype=np.float32)
        return {"x": np.stack([np.cos(angle), np.sin(angle)], 1)}


MAKER, JUDGE = MLP(2, (8,)), MLP(1, (8,))


def make(params, batch):
    keys = jax.random.wrap_key_data(batch["keys"], impl="threefry2x32")
    return MAKER.apply({"params": params}, jax.vmap(lambda key: jax.random.normal(key, (3,)))(keys))


def judge_loss(params, variables, batch, key, *, train):
    of_real, of_made = (JUDGE.apply({"params": params}, x) for x in (batch["x"], make(variables["maker"], batch)))
    return {"loss": Mean((jax.nn.softplus(-of_real) + jax.nn.softplus(of_made)).sum(), len(of_real))}, variables


def maker_loss(params, variables, batch, key, *, train):
    nats = jax.nn.softplus(-JUDGE.apply({"params": variables["judge"]}, make(params, batch)))
    return {"loss": Mean(nats.sum(), len(nats))}, variables


def build(config, place):
    tx, seeds = config.optim(config.run.steps), config.run.seeds

    def learn(loss, name, params):
        return steps.update(place.reduce(transforms.lend(steps.grad(loss), name, lambda _: params)), tx)

    def step(state, batch):
        judge, judged = learn(judge_loss, "maker", state.parts["maker"].params)(state.parts["judge"], batch)
        maker, made = learn(maker_loss, "judge", judge.params)(state.parts["maker"], batch)
        metrics = made | {"judge_loss": judged["loss"]}
        return state.replace(step=state.step + 1, parts={"maker": maker, "judge": judge}), metrics

    def init(key):
        keys = jax.random.split(key, 3)
        maker = steps.init(MAKER, tx, jnp.zeros((1, 3)), keys[0])
        return steps.joint(keys[1], maker=maker, judge=steps.init(JUDGE, tx, jnp.zeros((1, 2)), keys[2]))

    def outputs(state, batch):
        off = jnp.abs(jnp.linalg.norm(make(state.parts["maker"].params, batch), axis=1) - 1)
        return {"loss": Mean((off * batch["mask"]).sum(), batch["mask"].sum())}

    train_data, evaluation = config.data.train(seeds.data, seeds.noise), Evaluation(config.data.eval(), outputs)
    return Experiment(init, transforms.skip_nonfinite(step), train_data, {"eval": evaluation})


@places
def test_gan(others, tmp_path):
    config = Config(model=None, data=Ring(), optim=Adam(peak_lr=1e-2), run=RUN)
    state, _ = keeps_the_laws(build, config, tmp_path, others)
    assert int(state.step) == int(state.parts["maker"].step) == int(state.parts["judge"].step) == 6
