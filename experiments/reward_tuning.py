"""Tune a language model on computed rewards of its own answers (group relative policy optimisation).

python experiments/reward_tuning.py configs/gpt_sort_digits.py [--loss.beta 0.01 ...]
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxlm import steps
from jaxlm.data.text.prompts import END
from jaxlm.data.tokenizers.specs import load_tokenizer
from jaxlm.decode.generate import continue_rows
from jaxlm.errors import BadInput
from jaxlm.losses.grpo import group_advantages, token_log_probs
from jaxlm.models.adapted import share
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.continuations import TokenizePrompts, language_writer
from jaxlm.runs.directory import RunDirectory
from jaxlm.runs.settings import COMPOSED
from jaxlm.steps import Mean, transforms
from jaxlm.train import Config, Evaluation, Experiment, main


def build(config: Config, place: Placement) -> Experiment:
    """Compose algorithm 1 of arXiv:2402.03300: draw groups of answers, compare their rewards, descend."""
    model, data, run, grpo = config.model, config.data, config.run, config.loss
    check(config)
    tx, tokenizer = config.optim(run.steps * grpo.epochs), data.build_tokenizer()
    end, point_V = (
        int(tokenizer.encode(END)[0]),
        jnp.array([ord(tokenizer.decode([i])) for i in range(tokenizer.vocab)]),
    )
    loss = transforms.cast(transforms.freeze(grpo(model), config.optim.frozen), run.dtype)
    update = steps.update(place.reduce(steps.accumulate(steps.grad(loss), run.accumulate)), tx)
    update = transforms.ema(update, run.ema, "run.ema") if run.ema else update

    def answer(variables: Any, prompts: jax.Array, keys: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
        """Return answers int32 [N, T] and where they have not ended, with the end itself."""
        start, (decoder, weights), length = jnp.zeros(len(prompts), jnp.int32), merged(model, variables), grpo.length
        answers = continue_rows(
            decoder, weights, prompts, start, keys, length, temperature, 1.0, end, slots=grpo.length
        )
        ended = jnp.cumsum(answers == end, axis=1) - (answers == end) > 0
        return answers, ~ended

    def reward(prompts: jax.Array, answers: jax.Array, going: jax.Array) -> jax.Array:
        points = jnp.where(going & (answers != end), point_V[answers], 0)
        return jax.vmap(grpo.reward)(point_V[prompts], points)

    def experience(state: steps.TrainState, batch: Any) -> tuple[dict[str, jax.Array], steps.Metrics]:
        variables = {"params": state.params, **state.variables}
        prompts = jnp.repeat(batch["tokens"], grpo.group, axis=0)
        keys = steps.typed_keys(batch["keys"])
        keys = jax.vmap(lambda key: jax.vmap(lambda n: jax.random.fold_in(key, n))(jnp.arange(grpo.group)))(keys)
        answers, going = answer(variables, prompts, keys.reshape(-1), grpo.temperature)
        found = reward(prompts, answers, going)
        whole = jnp.concatenate([prompts, answers], axis=1)
        mask = jnp.concatenate([jnp.zeros(prompts[:, 1:].shape), going.astype(jnp.float32)], axis=1)
        drawn = {"tokens": whole[:, :-1], "targets": whole[:, 1:], "mask": mask}
        drawn["advantage"] = group_advantages(found, grpo.group)
        drawn["log_prob"] = token_log_probs(model, variables, drawn, grpo.temperature)
        return drawn, {"reward": Mean(found.sum(), jnp.float32(len(found)))}

    def step(state: steps.TrainState, batch: Any) -> tuple[steps.TrainState, steps.Metrics]:
        drawn, seen = experience(state, batch)
        after, metrics = jax.lax.scan(lambda state, _: update(state, drawn), state, None, grpo.epochs)
        return after.replace(step=state.step + 1), jax.tree.map(lambda x: x.sum(0), metrics) | place.sum(seen)

    def outputs(state: steps.TrainState, batch: Any) -> steps.Metrics:
        variables = steps.eval_variables(state.params, state.variables, state.ema)
        keys = steps.typed_keys(batch["keys"])
        found = reward(batch["tokens"], *answer(variables, batch["tokens"], keys, 0.0))
        right = (found == 1).astype(jnp.float32)
        return {"reward": Mean.from_values(found, batch["mask"]), "exact_match": Mean.from_values(right, batch["mask"])}

    return Experiment(
        init=lambda key: steps.init(model, tx, data.example(), key, ema=run.ema > 0),
        step=transforms.skip_nonfinite(step, run.skip_limit),
        train_data=data.train(run.seeds.data, run.seeds.noise),
        evaluations={"eval": Evaluation(data.eval(), outputs)},
        throughput=(data.batch * grpo.group, "texts"),
        learning_rate=lambda count: config.optim.learning_rate(run.steps * grpo.epochs)(count * grpo.epochs),
        init_from=config.init,
        composes=COMPOSED,
        log_lines=[*data.log_lines(), share(model, data.example())],
        artefacts=data.artefacts(),
    )


def check(config: Config) -> None:
    """Check that model, data and answers go together; raises BadInput."""
    config.model.validate()
    config.data.check(config.model, config.run.repeat)
    longest = config.data.digits + 1 + config.loss.length
    if longest > config.model.context:
        raise BadInput(
            f"a prompt and loss.length {config.loss.length} are {longest} tokens, more than model.context "
            f"{config.model.context}: shorten the one or raise the other"
        )


def merged(model: Any, variables: Any) -> tuple[Any, Any]:
    """Return the model and the variables that answers are decoded with; adapters are merged once and not each token."""
    return (model.base, model.merged(variables)) if hasattr(model, "merged") else (model, variables)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer a prompt such as "4203="."""
    tokenizer = load_tokenizer(run.artefact("tokenizer.json"))
    rows = TokenizePrompts(tokenizer=tokenizer, context=config.model.context, length=config.loss.length)
    return language_writer(config.model, rows, (int(tokenizer.encode(END)[0]),))


if __name__ == "__main__":
    main(build)
