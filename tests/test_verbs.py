"""The verbs of the command line, on a real run."""

import json
import subprocess
import sys

import pytest

from jaxlm import cli
from whole_path import ROOT, run_main, shrunk


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("verbs") / "run"
    with pytest.MonkeyPatch.context() as monkeypatch:
        words = (*shrunk(), "--run.directory", str(directory), "--run.ema", "0.5")
        run_main(monkeypatch, "language_model.py", ROOT / "configs" / "gpt_stdlib.py", *words)
    return directory


@pytest.fixture
def jaxlm(monkeypatch, capsys):
    """Run a command line in this process: (exit code, output, error)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["jaxlm", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


def test_evaluating_a_run_gives_what_the_run_recorded(run, jaxlm):
    code, out, _ = jaxlm("eval", run)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = [record for record in records if "eval/loss" in record][-1]
    assert code == 0
    for name in ("eval/loss", "eval/accuracy", "eval/bits_per_byte"):
        assert f"{name} {last[name]:.6g} (update 20)" in out


def test_a_sample_continues_the_prompt_and_is_fixed_by_its_seed(run, jaxlm):
    words = ("sample", run, "--prompt", "You may", "--prompt", "License", "--length", 40)  # longer than the context
    first, again, other = jaxlm(*words), jaxlm(*words), jaxlm(*words, "--seed", 1)
    assert first == again != other
    assert first[0] == 0
    assert first[1].startswith("You may")
    assert "\nLicense" in first[1]


def test_info_counts_parameters_and_tells_where_the_run_comes_from(run, jaxlm):
    from jaxlm.runs.directory import RunDirectory

    code, out, _ = jaxlm("info", run)
    assert code == 0
    assert f"{RunDirectory(run).config().model.parameter_count():,}" in out
    assert "seed 0" in out
    assert "checkpoints: 15, 20" in out
    assert "params/block_0/attention/qkv/kernel" in out


def test_the_doctor_finds_this_machine_able(jaxlm):
    code, out, _ = jaxlm("doctor")
    assert code == 0
    assert out.count("device ") == 4
    assert "MISSING" not in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("info", "nowhere"), "nowhere is not a run directory"),
        (("sample", "RUN", "--step", "7"), "no checkpoint at update 7: it has 15, 20"),
        (("sample", "RUN", "--top-p", "0"), "top_p is 0.0"),
        (("sample", "RUN", "--length", "0"), "length is 0"),
        (("info", "RUN", "--speed", "3"), "unrecognized arguments: --speed 3"),
        (("eval", "RUN", "--speed", "3"), "--speed is not of an evaluation"),
        (("verify-resume", "gone.py", "gone.py"), "there is no config file gone.py"),
    ],
)
def test_a_wrong_word_is_one_line_and_exit_code_2(run, jaxlm, words, told):
    code, _, err = jaxlm(*(run if word == "RUN" else word for word in words))
    assert code == 2
    assert told in err


def test_help_needs_none_of_the_heavy_libraries():
    program = (
        "import sys; sys.argv = ['jaxlm', '--help']; from jaxlm import cli\n"
        "try: cli.main()\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert not {'jax', 'flax', 'orbax', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
