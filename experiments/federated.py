"""Train a network to classify images that are spread over clients: federated averaging, FedProx, FedAdam, SCAFFOLD.

python experiments/federated.py configs/federated_digits.py [--run.steps 50 ...]
"""

from dataclasses import replace

import jax

from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.federated.client import compose_local
from jaxlm.federated.config import FederatedConfig
from jaxlm.losses import IMAGE
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor, forward
from jaxlm.predict.images import image_classifier
from jaxlm.privacy.compose import private_batches, private_plan
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.settings import COMPOSED
from jaxlm.steps import transforms
from jaxlm.steps.federated import CONTROL_RULES, federated, new_controls, scaffold
from jaxlm.train import Evaluation, Experiment, main


def build(config: FederatedConfig, place: Placement) -> Experiment:
    """Compose rounds of local training, whose changes the server's optimizer descends."""
    model, data, run, local = config.model, config.data, config.run, config.local
    model.validate()
    data.check(model, run.repeat)
    local.validate(data.grouped, config.privacy)
    plan = private_plan(config, unit="client")
    tx, local_tx = config.optim(run.steps), local.optim(data.rows().updates)
    loss, grad = compose_local(config)
    controlled = local.method == "scaffold"

    def serve(grad: steps.GradFn) -> steps.StepFn:
        step = steps.update(grad, tx)
        return transforms.ema(step, run.ema) if run.ema else step

    if controlled and config.init.path is not None:
        raise BadInput(f"init.path is {config.init.path}, and SCAFFOLD starts from new weights: leave it out")

    def init(key: jax.Array) -> steps.TrainState | steps.Joint:
        server = steps.init(model, tx, data.example(), key, ema=run.ema > 0)
        controls = {"server": server, "controls": new_controls(server.params, data.clients)}
        return steps.joint(key, **controls) if controlled else server

    if controlled:
        step = scaffold(grad, local.optim.peak_lr, serve, place.sum, clients=data.clients, parts=run.accumulate)
    else:
        clip_norm = plan.privacy.clip_norm if plan else local.clip_norm
        rounds = federated(grad, local_tx, proximal=local.proximal, weights=local.weights, clip_norm=clip_norm)
        rounds = place.reduce(steps.accumulate(rounds, run.accumulate))
        step = serve(steps.add_noise(rounds, plan.std, plan.expected) if plan else rounds)
    seeds, measure = run.seeds, steps.evaluate(loss)
    batches = private_batches(config, plan, place.devices) if plan else data.train(seeds.data, seeds.noise)
    return Experiment(
        init=init,
        step=step if plan else transforms.skip_nonfinite(step, run.skip_limit),
        train_data=batches,
        evaluations={
            "eval": Evaluation(
                data.eval(), lambda state, batch: measure(state.parts["server"] if controlled else state, batch)
            )
        },
        throughput=data.throughput(),
        learning_rate=config.optim.learning_rate(run.steps),
        init_from=config.init,
        rules=CONTROL_RULES,
        composes=(*COMPOSED, "privacy"),
        privacy=plan,
        log_lines=[*data.log_lines(), *(plan.log_lines() if plan else ())],
        artefacts=data.artefacts(),
    )


def predictor(config: FederatedConfig, run: RunDirectory) -> Predictor:
    """Answer with the class of an image."""
    logits = transforms.cast(forward(config.model, IMAGE), config.run.dtype, inputs=("image",))
    found = image_classifier(transforms.prepare(logits, config.data.prepare), config.data, run)
    if config.local.method != "scaffold":
        return found
    return replace(found, apply=lambda variables, batch: found.apply(variables["server"], batch))


if __name__ == "__main__":
    main(build)
