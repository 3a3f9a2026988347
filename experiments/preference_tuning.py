"""Tune a language model on pairs of answers, of which one is preferred (direct preference optimisation).

python experiments/preference_tuning.py configs/llama_stories_dpo.py --start.path RUN [--loss.beta 0.5 ...]
"""

from jaxlm import steps
from jaxlm.models.adapted import share
from jaxlm.parallel import Placement
from jaxlm.steps import transforms
from jaxlm.train import Config, Experiment, main


def build(config: Config, place: Placement) -> Experiment:
    """Compose the pure functions that this experiment is made of."""
    model, data, run = config.model, config.data, config.run
    model.validate()
    data.check(model.context, model.vocab)
    tx = config.optim(run.steps)

    loss = transforms.cast(config.loss(model), run.dtype)
    grad = steps.grad(loss)
    grad = steps.accumulate(grad, run.accumulate)
    grad = place.reduce(grad)
    step = steps.update(grad, tx)
    if run.ema:
        step = transforms.ema(step, run.ema)
    step = transforms.skip_nonfinite(step, run.skip_limit)

    return Experiment(
        init=lambda key: steps.init(model, tx, data.example(), key, ema=run.ema > 0),
        step=step,
        evaluate=place.reduce_metrics(steps.evaluate(loss)),
        train_data=data.train(run.seeds.data),
        eval_data=data.eval(),
        units=(data.batch, "pairs"),
        learning_rate=config.optim.schedule(run.steps),
        start=config.start,
        notes=[share(model, data.example())],
        artefacts={"tokenizer.json": data.build_tokenizer().to_json()},
    )


if __name__ == "__main__":
    main(build)
