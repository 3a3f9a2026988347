"""The usual composition is the one that could be written out, and options it does not compose are refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_run import PLACES, builder, config

from jaxlm import steps
from jaxlm.data.images.sources import Digits
from jaxlm.errors import BadInput
from jaxlm.losses import Classification, next_token
from jaxlm.models.adapted import Adapted
from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.models.gpt import GPT
from jaxlm.models.mlp import MLP
from jaxlm.nn.lora import LoRA
from jaxlm.optim import SGD
from jaxlm.runs.settings import COMPOSED
from jaxlm.steps import Mean, transforms
from jaxlm.train import Config, Evaluation, Run, hyperparameters, train, with_hyperparameters
from jaxlm.train.compose import descend, supervised
from step_helpers import assert_close, assert_same_bits, everywhere, loss, noisy_loss, parameters


def doubled(batch):
    return batch | {"y": 2 * batch["y"]}


def after(name, compose, asked, updates=2):
    """The state after some updates of a step, and the metrics of the last."""
    place = PLACES[name].build()
    tx = asked.optim(asked.run.steps)
    state = place.init(lambda key: steps.new_state(parameters(), tx, key, ema=asked.run.ema > 0), jax.random.key(0))
    step, data = place.compile(compose(asked, place)), asked.data.train()
    for index in range(updates):
        state, metrics = step(state, place.put(data[index]))
    return place.fetch((state, metrics))


@everywhere
def test_descend_is_what_could_be_written_out(name):
    asked = config(accumulate=2, ema=0.75, skip_limit=3, optim=SGD(peak_lr=0.1, freeze="hidden", momentum=0.5))

    def written_out(config, place):
        grad = steps.grad(transforms.freeze(noisy_loss, lambda path: path == "hidden"))
        grad = transforms.prepare(steps.accumulate(grad, 2), doubled)
        step = steps.update(place.reduce(grad), config.optim(config.run.steps))
        return transforms.skip_nonfinite(transforms.ema(step, 0.75, "run.ema"), 3)

    found = after(name, lambda config, place: descend(noisy_loss, config, place, augment=doubled), asked)
    assert_same_bits(found, after(name, written_out, asked))
    assert_same_bits(found[0].params["hidden"], parameters()["hidden"])
    assert np.abs(found[0].params["out"] - parameters()["out"]).max() > 0


@everywhere
def test_weights_are_those_of_the_batch_that_the_loss_sees(name):
    """An augmentation that counts some rows twice changes the weights too."""

    def heavier(batch):
        return batch | {"mask": jnp.where(batch["number"] % 3 == 0, 4, 1.0)}

    def of_weights(params, variables, batch, key, *, train):
        metrics, variables = loss(params, variables, batch, key, train=train)
        return metrics | {"whole": Mean(variables["weights"], batch["mask"].sum())}, variables

    asked = config(accumulate=2)

    def compose(config, place):
        return descend(of_weights, config, place, augment=heavier, weights=lambda batch: batch["mask"].sum())

    state, metrics = after(name, compose, asked, updates=1)
    parts = 2 * PLACES[name].build().devices if name == "pmap" else 2
    assert metrics["whole"].total / parts == metrics["whole"].weight == heavier(asked.data.train()[0])["mask"].sum()
    plain, _ = after("local", lambda config, place: descend(loss, config, place, augment=heavier), asked, updates=1)
    assert_close(state.params, plain.params, 1e-5)


def test_every_option_that_an_experiment_does_not_compose_is_refused_before_anything_is_written(tmp_path):
    others = {"accumulate": 2, "ema": 0.5, "skip_limit": 3, "dtype": "bfloat16"}
    assert set(others) == set(COMPOSED)
    for name, value in others.items():
        with pytest.raises(BadInput, match=rf"^run.{name} is {value}, and this experiment does not compose it[^\n]*$"):
            train(builder(), config(**{name: value}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_option_that_is_composed_is_taken(tmp_path):
    def step(config, place):
        grad = steps.accumulate(steps.grad(loss), config.run.accumulate)
        return steps.update(place.reduce(grad), config.optim(config.run.steps))

    build = builder(step=step, composes=lambda config, place: ("accumulate",))
    found = train(build, config(accumulate=2), tmp_path / "parts").state
    assert_close(found.params, train(builder(), config(), tmp_path / "whole").state.params)
    with pytest.raises(BadInput, match="run.ema is 0.5"):
        train(build, config(accumulate=2, ema=0.5), tmp_path / "other")


def images(config, place):
    def loss_of(config):
        return transforms.prepare(config.loss(config.model), config.data.prepare)

    extra = Evaluation(config.data.eval(), lambda state, batch: {"rows": Mean(batch["mask"].sum(), 1)}, every=3)
    return supervised(loss_of, config, place, evaluations={"rows": extra}, log_lines=("a line of its own",))


IMAGES = Config(
    model=MLP(classes=10, hidden=(4,), dropout=0.25),
    data=Digits(batch=8, eval_batch=360),
    loss=Classification(smoothing=0.125),
    optim=SGD(),
    run=Run(steps=2, ema=0.5),
)


def test_supervised_takes_its_parts_from_the_config_and_other_fields_go_first():
    experiment = images(IMAGES, PLACES["local"].build())
    assert set(experiment.evaluations) == {"eval", "rows"}
    assert experiment.evaluations["eval"].data.fingerprint() == IMAGES.data.eval().fingerprint()
    assert experiment.throughput == (8, "images")
    assert experiment.log_lines == ("a line of its own",)
    assert experiment.composes == COMPOSED
    assert experiment.hyperparameters == hyperparameters(IMAGES)
    assert list(experiment.fingerprints()) == ["train", "eval", "rows"]
    state = jax.eval_shape(experiment.init, jax.random.key(0))
    assert set(state.hyperparameters) == {"model.dropout", "loss.smoothing", "run.ema"}
    with pytest.raises(BadInput, match="classes"):
        images(dataclasses.replace(IMAGES, model=MLP(classes=7)), PLACES["local"].build())


def test_hyperparameters_are_named_by_the_specs_that_have_them_however_deep():
    encoder = BERT(vocab=9, depth=1, width=8, heads=2, dropout=0.25)
    nested = Config(model=MaskedLanguageModel(encoder), data=None, optim=SGD(), run=Run(ema=0.5))
    assert hyperparameters(nested) == {"model.encoder.dropout": 0.25, "run.ema": 0.5}

    @dataclasses.dataclass(frozen=True)
    class Penalty:
        inner: Classification
        rate: float = 0.125
        hyperparameters = ("rate",)

    mine = dataclasses.replace(nested, loss=Penalty(Classification(smoothing=0.0625)))
    assert hyperparameters(mine) == hyperparameters(nested) | {"loss.rate": 0.125, "loss.inner.smoothing": 0.0625}


WRITER = GPT(vocab=32, depth=2, width=32, heads=2, context=16)
ROWS = {name: np.arange(64, dtype=np.int32).reshape(4, 16) % 32 for name in ("tokens", "targets")}


def lowered(model, optim):
    """The lowered step of a language model, and what gives the state before its first update."""
    asked = Config(model=model, data=None, optim=optim, run=Run(steps=10))
    held = hyperparameters(asked)
    make = transforms.inject(lambda values: next_token(with_hyperparameters(asked, values).model), held)
    tx = optim(10)
    init = jax.jit(lambda key: steps.init(model, tx, ROWS["tokens"], key, hyperparameters=held))
    step = jax.jit(descend(make, asked, PLACES["local"].build()))
    return step.lower(jax.eval_shape(init, jax.random.key(0)), ROWS), init


def test_a_frozen_part_of_a_language_model_saves_its_work():
    flops = {
        freeze: lowered(WRITER, SGD(peak_lr=0.1, freeze=freeze))[0].cost_analysis()["flops"]
        for freeze in ("", "embed|block_0", "^(?!final_norm)")
    }
    assert flops["embed|block_0"] < 0.75 * flops[""]
    assert flops["^(?!final_norm)"] < 0.5 * flops[""]


def test_adapters_of_a_model_with_dropout_are_trained_at_the_rate_of_the_state():
    step, init = lowered(Adapted(WRITER.clone(depth=1, dropout=0.5), LoRA(rank=2)), SGD(peak_lr=0.1))
    step, state = step.compile(), init(jax.random.key(0))
    assert set(state.hyperparameters) == {"model.base.dropout"}
    found = [
        step(state.replace(hyperparameters={"model.base.dropout": jnp.float32(rate)}), ROWS)[1]["loss"].total
        for rate in (0.5, 0.5, 0.1)
    ]
    assert found[0] == found[1] != found[2]
