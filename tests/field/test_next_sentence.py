"""BERT's two tasks (Devlin et al. 2019, arXiv:1810.04805): hidden words and next sentences, each with its own mean."""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from harness import RUN, Rows, keeps_the_laws, places

from jaxlm.models.bert import BERT, MaskedLanguageModel
from jaxlm.optim import SGD
from jaxlm.parallel import local
from jaxlm.steps import Mean
from jaxlm.train import Config
from jaxlm.train.compose import supervised
from step_helpers import assert_close


@dataclass(frozen=True)
class Pairs(Rows):
    """Pairs of sentences with hidden words; only a third of the pairs say whether the second one follows."""

    def arrays(self):
        draw = np.random.default_rng(0)
        targets = draw.integers(1, 11, (21, 6))
        hidden, told = draw.random(targets.shape) < 0.3, draw.random(21) < 0.4
        tokens, follows = np.where(hidden, 11, targets), draw.integers(0, 2, 21)
        found = {"tokens": tokens, "targets": targets, "hidden": hidden, "follows": follows, "told": told}
        return {name: values.astype(np.int32) for name, values in found.items()}


class Sum(NamedTuple):
    words: Mean
    pairs: Mean

    def compute(self):
        return self.words.compute() + self.pairs.compute()


def weights(batch):
    return {"words": batch["hidden"].sum(), "pairs": batch["told"].sum()}


def pretraining(model):
    def loss(params, variables, batch, key, *, train):
        logits = model.apply({"params": params}, batch["tokens"], train=train)
        targets = {"words": (batch["targets"], batch["hidden"]), "pairs": (batch["follows"], batch["told"])}
        sums = {
            name: Mean(-(mask * jnp.take_along_axis(jax.nn.log_softmax(x), y[..., None], -1)[..., 0]).sum(), mask.sum())
            for (name, (y, mask)), x in zip(targets.items(), logits, strict=True)
        }
        words, pairs = sums["words"], sums["pairs"]
        if not train:
            return sums | {"loss": Sum(words, pairs)}, variables
        whole = variables["weights"]
        rate = whole["words"] / jnp.maximum(whole["pairs"], 1)
        return sums | {"loss": Mean(words.total + pairs.total * rate, words.weight)}, variables

    return loss


def build(config, place):
    return supervised(lambda config: pretraining(config.model), config, place, weights=weights)


MODEL = MaskedLanguageModel(BERT(vocab=12, depth=1, width=8, heads=2, context=6), next_sentence=True)
CONFIG = Config(model=MODEL, data=Pairs(), optim=SGD(peak_lr=0.1), run=dataclasses.replace(RUN, accumulate=2))


@places
def test_hidden_words_and_next_sentences(others, tmp_path):
    _, found = keeps_the_laws(build, CONFIG, tmp_path, others)
    assert found[-1]["eval/loss"] == pytest.approx(found[-1]["eval/words"] + found[-1]["eval/pairs"], rel=1e-6)


def test_a_step_in_micro_batches_descends_the_sum_of_two_means(tmp_path):
    experiment = build(CONFIG, local())
    state, batch = local().init(experiment.init, jax.random.key(0)), experiment.train_data[0]

    @jax.jit
    def descended(params):
        def mean(params):
            metrics, _ = pretraining(MODEL)(params, {}, batch, None, train=False)
            return sum(metrics[name].total / metrics[name].weight for name in ("words", "pairs"))

        return jax.tree.map(lambda w, g: w - CONFIG.optim.peak_lr * g, params, jax.grad(mean)(params))

    after, _ = local().compile(experiment.step, donate=False)(state, batch)
    assert_close(after.params, descended(state.params))
