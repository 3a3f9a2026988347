"""A student learns from a teacher that does not change, and without the teacher's share it is the student alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxlm
from digit_runs import DIGITS, refused
from digit_runs import jaxlm as command
from jaxlm import steps
from jaxlm.errors import BadInput
from jaxlm.losses import Classification
from jaxlm.losses.distillation import distil
from jaxlm.runs.directory import RunDirectory
from jaxlm.train.config import load_config
from shrunk_texts import text_words
from step_helpers import assert_close, assert_same_bits
from whole_path import ROOT, final_bits, losses

TINY = "--model.widths 4 --model.hidden 8 --optim.warmup 1 --run.steps 6 --run.log-every 1 --run.eval-every 6".split()
TINY += ["--run.save-every", "6"]


class Linear:
    """A model of one matrix."""

    def apply(self, variables, x, *, train, rngs=None, mutable=None):
        logits = x @ variables["params"]
        return (logits, {}) if train else logits


def batch():
    draw = np.random.default_rng(0)
    mask = np.array([1, 1, 0, 1, 1, 1], np.float32)
    return {"image": draw.normal(size=(6, 4)).astype(np.float32), "label": np.arange(6) % 3, "mask": mask}


KERNEL, TEACHER = (np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32) for seed in (1, 2))


def student(**options):
    return distil(lambda mix: Classification()(Linear(), mix=mix), lambda batch: batch["image"] @ TEACHER, **options)


def by_hand(kernel, temperature, weight):
    """The weighted mean of the loss in float64."""
    data = {name: np.asarray(x, np.float64) for name, x in batch().items()}

    def logs(logits):
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    ours, theirs = data["image"] @ kernel, data["image"] @ TEACHER.astype(np.float64)
    nats = -logs(ours)[np.arange(6), batch()["label"]]
    soft = np.exp(logs(theirs / temperature))
    apart = (soft * (logs(theirs / temperature) - logs(ours / temperature))).sum(-1)
    return ((1 - weight) * nats + weight * temperature**2 * apart) @ data["mask"] / data["mask"].sum()


@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 0.3), (4.0, 0.9), (2.0, 1.0)])
def test_the_loss_and_its_gradient_are_hintons(temperature, weight):
    grads, metrics, variables = steps.grad(student(temperature=temperature, weight=weight))(
        KERNEL, {}, batch(), jax.random.key(0)
    )
    assert metrics["loss"].compute() == pytest.approx(by_hand(KERNEL, temperature, weight), rel=1e-5)
    assert variables == {}
    slope, wide = np.zeros(KERNEL.shape), KERNEL.astype(np.float64)
    for place in np.ndindex(KERNEL.shape):
        moved = np.zeros(KERNEL.shape)
        moved[place] = 1e-6
        slope[place] = (by_hand(wide + moved, temperature, weight) - by_hand(wide - moved, temperature, weight)) / 2e-6
    assert_close(grads / metrics["loss"].weight, slope.astype(np.float32), 1e-4)


def test_an_evaluation_is_that_of_the_labels_and_without_a_weight_training_too():
    plain, key = Classification()(Linear()), jax.random.key(0)
    mixed, none = student(weight=0.5), student(weight=0.0)
    assert_same_bits(mixed(KERNEL, {}, batch(), key, train=False), plain(KERNEL, {}, batch(), key, train=False))
    step, other = (jax.jit(steps.update(steps.grad(loss), optax.adam(0.1))) for loss in (none, plain))
    state = steps.new_state(jnp.asarray(KERNEL), optax.adam(0.1), key)
    assert_same_bits(step(state, batch()), other(state, batch()))


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"weight": 1.5}, {"weight": -0.1}])
def test_shares_and_temperatures_out_of_range_are_refused(options):
    with pytest.raises(BadInput, match=str(next(iter(options.values())))):
        student(**options)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A run of a somewhat larger network on digits."""
    path = tmp_path_factory.mktemp("teacher") / "run"
    code, _, err = command("train", DIGITS[1], *TINY, "--model.widths", "4", "8", "--run.directory", path)
    assert code == 0, err
    return path


def test_a_student_is_a_run_like_any_other(teacher, tmp_path):
    before = final_bits(teacher)
    words = ("--distill", DIGITS[1], *TINY)
    code, out, err = command("compress", teacher, tmp_path / "student", *words, "--temperature", "2", "--weight", "0.9")
    assert code == 0, err
    table = [line.split() for line in out.splitlines() if line.startswith(("model", "teacher", "student"))]
    assert [row[0] for row in table[-3:]] == ["model", "teacher", "student"]
    assert "eval/accuracy" in table[-3]
    assert final_bits(teacher) == before
    run = RunDirectory(tmp_path / "student")
    assert (run.config().loss.temperature, run.config().loss.weight) == (2.0, 0.9)
    images = list(run.config().data.eval()[0]["image"][:2])
    assert len(jaxlm.load(run.path)(images)) == 2
    code, _, err = command("eval", run.path)
    assert code == 0, err


@pytest.mark.slow
def test_without_the_teachers_share_it_is_the_students_own_training(teacher, tmp_path):
    command("compress", teacher, tmp_path / "student", "--distill", DIGITS[1], *TINY, "--weight", "0")
    command("train", DIGITS[1], *TINY, "--run.directory", tmp_path / "alone")
    assert final_bits(tmp_path / "student") == final_bits(tmp_path / "alone")
    assert losses(tmp_path / "student") == losses(tmp_path / "alone")


@pytest.mark.slow
def test_a_text_classifier_has_students_too(tmp_path):
    words = [*text_words("lstm_trec", tmp_path), "--run.steps", "4", "--run.eval-every", "4", "--run.save-every", "4"]
    code, _, err = command("train", "lstm_trec", *words, "--run.directory", tmp_path / "teacher")
    assert code == 0, err
    code, out, err = command("compress", tmp_path / "teacher", tmp_path / "student", "--distill", "lstm_trec", *words)
    assert code == 0, err
    assert out.splitlines()[-1].startswith("student")
    assert losses(tmp_path / "student") != losses(tmp_path / "teacher")


def test_a_student_that_does_not_fit_is_one_line(teacher, tmp_path):
    out = tmp_path / "student"
    assert "take the same normalisation" in refused(
        "compress", teacher, out, "--distill", DIGITS[1], "--data.mean", "0"
    )
    assert "only models of classes" in refused(
        "compress", teacher, out, "--distill", ROOT / "configs" / "gpt_stdlib.py"
    )
    assert "no config file nothing" in refused("compress", teacher, out, "--distill", "nothing")
    assert "weight of the teacher is 2.0" in refused("compress", teacher, out, "--distill", DIGITS[1], "--weight", "2")
    assert "unrecognized arguments: --run.steps 3" in refused("compress", teacher, out, "--int8", "--run.steps", "3")


def test_a_teacher_that_has_changed_is_refused(teacher):
    from jaxlm.compress.distill import student_config

    config = load_config(DIGITS[1])
    config = student_config(config, RunDirectory(teacher), 6, teacher / "new", temperature=1.0, weight=0.5)
    config.loss(config.model)
    with pytest.raises(BadInput, match="have changed"):
        dataclasses.replace(config.loss, sha256="0" * 64)(config.model)
