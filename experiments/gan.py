"""Train a network to make pictures of captions by a second one that tells them from real ones (GAN).

python experiments/gan.py configs/gan_digits.py [--run.steps 500 ...]
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.vision.pictures import check_shape, painted, painter, picture_painter, picture_sheet
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.settings import COMPOSED
from jaxlm.steps import LossFn, transforms
from jaxlm.steps.gradient import split
from jaxlm.train import Config, Evaluation, Experiment, main

CAPTIONS, SHOWN = 10, 8  # captions of the evaluation in a preview, and pictures of each


def build(config: Config, place: Placement) -> Experiment:
    """Compose two losses on one state, each of which reads what the other net has learned."""
    model, data, run, turns = config.model, config.data, config.run, config.loss.judgings
    judge_tx, maker_tx = config.optim(run.steps * turns), config.optim(run.steps)
    check(config, place)
    judging, making = (
        transforms.prepare(transforms.cast(loss(model), run.dtype), data.prepare)
        for loss in (config.loss.judging, config.loss.making)
    )

    def learn(loss: LossFn, other: str, params: Any, tx: Any) -> steps.StepFn:
        grad = transforms.lend(steps.accumulate(steps.grad(loss), run.accumulate), other, lambda _: params)
        return steps.update(place.reduce(grad), tx)

    def step(state: steps.Joint, batch: Any) -> tuple[steps.Joint, steps.Metrics]:
        judge, maker = state.parts["judge"], state.parts["maker"]
        for part in turns_of(batch, turns):
            judge, judged = learn(judging, "maker", maker.params, judge_tx)(judge, part)
        update = learn(making, "judge", judge.params, maker_tx)
        maker, made = (transforms.ema(update, run.ema) if run.ema else update)(maker, batch)
        metrics = made | {f"judge_{name}": judged[name] for name in ("loss", "accuracy", "grad_norm")}
        return state.replace(step=state.step + 1, parts={"judge": judge, "maker": maker}), metrics

    def init(key: jax.Array) -> steps.Joint:
        keys, (image, _, *caption) = jax.random.split(key, 5), data.example()
        noise = jnp.zeros((1, model.latent))
        judge = model.init(keys[0], image, *caption, method="judge")["params"]
        maker = model.init(keys[1], noise, *caption, method="make")["params"]
        return steps.joint(
            keys[2],
            judge=steps.new_state(judge, judge_tx, keys[3]),
            maker=steps.new_state(maker, maker_tx, keys[4], ema=run.ema > 0),
        )

    def outputs(state: steps.Joint, batch: Any) -> steps.Metrics:
        judge, maker = state.parts["judge"].params, applied(state)["params"]
        made, _ = making(maker, {"judge": judge}, batch, state.key, train=False)
        judged, _ = judging(judge, {"maker": maker}, batch, state.key, train=False)
        return made | {f"judge_{name}": metric for name, metric in judged.items()}

    return Experiment(
        init=init,
        step=transforms.skip_nonfinite(step, run.skip_limit),
        train_data=data.train(run.seeds.data, run.seeds.noise),
        evaluations={"eval": Evaluation(data.eval(), outputs)},
        throughput=data.throughput(),
        learning_rate=config.optim.learning_rate(run.steps),
        composes=COMPOSED,
        log_lines=data.log_lines(),
        preview=lambda state: preview(config, state),
        artefacts=data.artefacts(),
    )


def turns_of(batch: Any, count: int) -> list[Any]:
    """Divide a batch into one part for each update of the judge."""
    if count == 1:
        return [batch]
    parts = split(batch, count)
    return [jax.tree.map(lambda x, turn=turn: x[turn], parts) for turn in range(count)]


def check(config: Config, place: Placement) -> None:
    """Check that model, data, devices and options go together.

    Raises:
        BadInput: one line that says what does not fit.
    """
    check_shape(config)
    config.data.check(config.model, config.run.repeat)
    if config.init.path is not None:
        raise BadInput(f"init.path is {config.init.path}, and both nets of a GAN start from new weights: leave it out")
    parts = place.devices * config.loss.judgings * config.run.accumulate
    if config.data.batch_sizes[0] % parts:
        raise BadInput(
            f"a batch has {config.data.batch_sizes[0]} images, and loss.judgings, devices and run.accumulate divide it "
            f"by {parts}: make it a multiple"
        )


def applied(state: steps.Joint) -> Any:
    """Return what an evaluation of the maker applies."""
    maker = state.parts["maker"]
    return steps.eval_variables(maker.params, maker.variables, maker.ema)


def paint(config: Config) -> LossFn:
    """Return the function that makes pictures of a batch of texts."""

    def painting(variables: Any, batch: Any, noise: jax.Array) -> jax.Array:
        return config.model.apply(variables, noise, batch["tokens"], batch["segments"], method="make")

    return transforms.cast(painted(painting, (config.model.latent,)), config.run.dtype)


def preview(config: Config, state: steps.Joint) -> dict[str, str | bytes]:
    """Make pictures of captions of the evaluation."""
    predictor = painter(paint(config), config, config.data.build_tokenizer())
    return {"pictures.png": picture_sheet(predictor, applied(state), config.data.prompts(CAPTIONS), SHOWN)}


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with a picture of a text, of the maker among the two nets."""
    found = picture_painter(lambda shape: paint(config), config, run)
    return replace(found, apply=lambda variables, batch: found.apply(variables["maker"], batch))


if __name__ == "__main__":
    main(build)
