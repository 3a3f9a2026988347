"""Memory that is used up is one line with the largest arrays and what needs less, and leaves no directory."""

import re

import jax
import jax.numpy as jnp
import pytest
from tiny_run import builder, config

from jaxlm import cli, steps, verbs
from jaxlm.errors import BadInput
from jaxlm.optim import SGD
from jaxlm.train import train
from step_helpers import parameters

HUGE = (1 << 45,)  # 141 terabytes of float32, more than a process can address


def state_of_huge(config, place):
    tx = SGD(peak_lr=0.1)(1)

    def init(key):
        return steps.new_state(parameters() | {"huge": jnp.ones(HUGE)}, tx, key)

    return init


def test_a_state_that_does_not_fit_is_told_with_its_largest_array_and_leaves_nothing(tmp_path, capsys):
    with pytest.raises(BadInput) as error:
        train(builder(init=state_of_huge), config(), tmp_path / "run")
    told = str(error.value)
    assert "\n" not in told
    assert re.match(
        r"out of memory \(JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 140737488\d+ b", told
    )
    assert "state and batch are 140,737.5 GB without activations" in told
    assert "the largest arrays are state/params/huge float32[35184372088832] (140,737.5 GB), " in told
    assert "what needs less: --data.batch (now 8), --place.kind mesh --place.fsdp N on N devices" in told
    assert list(tmp_path.iterdir()) == []
    train(builder(), config(), tmp_path / "run")  # a smaller one in the same place


def test_what_was_trained_before_stays(tmp_path, monkeypatch):
    def fails(*words):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    asked = config(steps=4, eval_every=4, save_every=2)
    with monkeypatch.context() as patch:
        patch.setattr("jaxlm.train.evaluate.Evaluator.numbers", fails)
        with pytest.raises(BadInput, match="^out of memory"):
            train(builder(), asked, tmp_path / "run")
    assert train(builder(), asked, tmp_path / "run").completed == 4


def test_another_error_of_jax_is_not_called_one_of_memory(tmp_path, monkeypatch):
    def fails(*words):
        raise jax.errors.JaxRuntimeError("INTERNAL: no")

    monkeypatch.setattr("jaxlm.train.recorder.Recorder.begin", fails)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        train(builder(), config(), tmp_path / "run")


@pytest.mark.parametrize("error", [MemoryError(), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")])
def test_every_verb_says_so(monkeypatch, capsys, error):
    def fails(*words):
        raise error

    monkeypatch.setattr(verbs, "dispatch", fails)
    monkeypatch.setattr("sys.argv", ["jaxlm", "doctor"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert re.fullmatch(r"error: out of memory \(.*\): take a smaller batch, or more memory\n", capsys.readouterr().err)
