"""BLEU (Papineni et al. 2002) of greedy answers in batches of several widths: a score on the host."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sacrebleu
from harness import RUN, Rows, keeps_the_laws, places

from jaxlm.data.ragged import Bucketed, ragged
from jaxlm.decode import greedy
from jaxlm.decode.generate import until
from jaxlm.decode.seq2seq import greedy_tokens
from jaxlm.models.t5 import T5
from jaxlm.optim import Adam
from jaxlm.steps import Mean
from jaxlm.train import Config, Evaluation
from jaxlm.train.compose import supervised

STOP = 1


@dataclass(frozen=True)
class Reversed(Rows):
    """Texts of two to seven words, and the same from behind."""

    def rows(self):
        draw = np.random.default_rng(0)
        texts = [draw.integers(2, 5, length).astype(np.int32) for length in draw.integers(2, 8, 19)]
        tokens, targets = ([np.append(x[::step], np.int32(STOP)) for x in texts] for step in (1, -1))
        return ragged({"tokens": tokens, "targets": targets}, {})

    def train(self, seed=0, noise=None):
        return Bucketed(self.rows(), self.batch, (8,), seed)

    def eval(self):
        return Bucketed(self.rows(), self.eval_batch, (4, 8))

    def example(self):
        return np.ones((1, 4), np.int32), np.ones((1, 4), np.int32)


class Bleu(NamedTuple):
    answers: tuple[str, ...]
    references: tuple[str, ...]

    def merge(self, other):
        return Bleu(self.answers + other.answers, self.references + other.references)

    def compute(self):
        return sacrebleu.BLEU(tokenize="none").corpus_score(self.answers, [self.references]).score


def words(rows):
    return tuple(" ".join(map(str, until(row, STOP))) for row in rows.tolist())


def translation(model):
    def loss(params, variables, batch, key, *, train):
        given = jnp.pad(batch["targets"][:, :-1], ((0, 0), (1, 0)))
        logits = model.apply({"params": params}, batch["tokens"], given, segments=batch["segments"], train=train)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), batch["targets"][..., None], 2)[..., 0]
        return {"loss": Mean(-(log_p * batch["segments"]).sum(), batch["segments"].sum())}, variables

    return loss


def build(config, place):
    def answers(state, batch):
        sources = batch["tokens"], batch["segments"]
        return greedy_tokens(config.model, {"params": state.params}, *sources, 0, 8, STOP, slots=8)

    def score(answers, batch):
        real = batch["segments"].any(1)
        return {"bleu": Bleu(words(answers[real]), words(batch["targets"][real]))}

    scored = {"answers": Evaluation(config.data.eval(), answers, score)}
    return supervised(lambda config: translation(config.model), config, place, evaluations=scored)


MODEL = T5(vocab=6, depth=1, width=8, heads=2, hidden=8, head_width=4, buckets=4, reach=8)
CONFIG = Config(model=MODEL, data=Reversed(), optim=Adam(peak_lr=0.03), run=RUN)


def at_once(params):
    """The score of the answers to all texts in one batch."""
    rows = CONFIG.data.rows()
    found = rows.take(np.arange(len(rows)), 8)
    sources = [row[:size].tolist() for row, size in zip(found["tokens"], rows.sizes, strict=True)]
    answers = greedy(MODEL, {"params": params}, sources, length=8, stop=STOP)
    texts = [" ".join(map(str, answer)) for answer in answers]
    return sacrebleu.BLEU(tokenize="none").corpus_score(texts, [words(found["targets"])]).score


@places
def test_bleu(others, tmp_path):
    state, found = keeps_the_laws(build, CONFIG, tmp_path, others)
    assert 0 < found[-1]["answers/bleu"] < 100
    assert found[-1]["answers/bleu"] == pytest.approx(at_once(state.params))
