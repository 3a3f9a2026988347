"""`jaxlm lm-eval` on tasks over local files: what it prints, what it keeps, what it refuses."""

import json
import os
import sys

import numpy as np
import pytest

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
pytest.importorskip("lm_eval")

from jaxlm import cli
from jaxlm.decode.score import score
from jaxlm.runs.directory import RunDirectory
from jaxlm.verbs.runs import language_model
from whole_path import ROOT, TEXT, run_main, shrunk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # theirs
]
LICENSE = TEXT.read_text()
DOCUMENTS = [
    {"question": "You may", "good": " distribute", "bad": " qqqqqqqqqqq", "page": LICENSE[:7]},
    {"question": "Licensor", "good": " shall mean", "bad": " xxxxx", "page": LICENSE[300:345]},
]
TASK = """
task: {kind}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {documents}
test_split: test
output_type: {kind}
doc_to_text: "{question}"
doc_to_target: "{answer}"
target_delimiter: ""
{more}
metadata:
  version: 3
"""
CHOICES = 'doc_to_choice: "{{[good, bad]}}"\nmetric_list:\n  - metric: acc'
BYTES = "metric_list:\n  - metric: bits_per_byte"
EXACT = "generation_kwargs:\n  until: ['z']\n  max_gen_toks: 4\nmetric_list:\n  - metric: exact_match"
TASKS = {
    "multiple_choice": ("{{question}}", "0", CHOICES),
    "loglikelihood_rolling": ("", "{{page}}", BYTES),
    "generate_until": ("{{question}}", "{{good}}", EXACT),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as monkeypatch:
        words = [*shrunk(), "--run.directory", str(home / "run")]
        run_main(monkeypatch, "language_model.py", ROOT / "configs" / "gpt_stdlib.py", *words)
    return home / "run"


@pytest.fixture
def jaxlm(monkeypatch, capsys):
    """Run a command line in this process: (exit code, output, error)."""

    def jaxlm(*words):
        monkeypatch.setattr(sys, "argv", ["jaxlm", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        told = capsys.readouterr()
        return stop.value.code, told.out, told.err

    return jaxlm


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    os.environ["HF_HOME"] = str(folder / "cache")
    (folder / "documents.jsonl").write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    for kind, (question, answer, more) in TASKS.items():
        text = TASK.format(kind=kind, documents=folder / "documents.jsonl", question=question, answer=answer, more=more)
        (folder / f"{kind}.yaml").write_text(text.replace(f"task: {kind}", f"task: local_{kind}", 1))
    return folder


@pytest.fixture
def evaluate(jaxlm, run, tasks):
    """Evaluate the run on tasks of the folder."""

    def evaluate(*words, names=tuple(TASKS)):
        names = [f"local_{name}" for name in names]
        return jaxlm("lm-eval", str(run), "--include-path", str(tasks), *words, "--tasks", *names)

    return evaluate


def test_scores_are_kept_with_harness_task_and_prompts_and_follow_from_the_model(run, evaluate):
    code, out, _ = evaluate()
    assert code == 0
    kept = {each["task"]: each for each in json.loads((run / "lm_eval.json").read_text())}
    assert kept.keys() == {f"local_{kind}" for kind in TASKS}
    assert {(each["documents"], each["task_version"], each["step"]) for each in kept.values()} == {(2, 3, 20)}
    assert len({each["prompts"] for each in kept.values()}) == 3
    assert all(each["harness"] and len(each["prompts"]) == 64 for each in kept.values())

    model, variables, tokenizer, _ = language_model(RunDirectory(run), None)
    encode = lambda text: tokenizer.encode(text).tolist()  # noqa: E731
    ends = [(each["question"], each[kind]) for each in DOCUMENTS for kind in ("good", "bad")]
    totals = [total for total, _ in score(model, variables, [(encode(a), encode(b)) for a, b in ends])]
    right = np.mean([good > bad for good, bad in zip(totals[::2], totals[1::2], strict=True)])
    assert kept["local_multiple_choice"]["scores"]["acc,none"] == right
    tokens = [([tokenizer.separator], encode(LICENSE[:7])), ([tokenizer.separator], encode(LICENSE[300:316]))]
    first, second = (total for total, _ in score(model, variables, tokens))
    more = [encode(LICENSE[a - 1 : b]) for a, b in ((316, 332), (329, 345))]
    second += score(model, variables, [(more[0][:1], more[0][1:])])[0][0]
    second += score(model, variables, [(more[1][:4], more[1][4:])])[0][0]
    bits = -(first + second) / np.log(2) / (7 + 45)
    assert kept["local_loglikelihood_rolling"]["scores"]["bits_per_byte,none"] == pytest.approx(bits, rel=1e-5)
    assert f"local_loglikelihood_rolling bits_per_byte,none {bits:.4g}"[:-1] in out


def test_the_same_again_replaces_and_other_prompts_add(run, evaluate):
    evaluate(names=["multiple_choice"])
    whole = (run / "lm_eval.json").read_bytes()
    evaluate(names=["multiple_choice"])
    assert (run / "lm_eval.json").read_bytes() == whole
    evaluate("--limit", "1", names=["multiple_choice"])
    kept = json.loads((run / "lm_eval.json").read_text())
    assert [each["task"] for each in kept].count("local_multiple_choice") == 2
    assert kept[-1]["documents"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--tasks", "nope"], "error: lm-eval has no task nope: "),
        (["--tasks", "nope", "--include-path", "/nowhere"], "error: there is no folder /nowhere: "),
        (["--tasks", "nope", "--limit", "0"], "error: --batch and --limit must be at least 1"),
        (["--tasks", "arc_easy"], "error: a task cannot be loaded ("),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_one_line(jaxlm, run, words, told):
    code, _, err = jaxlm("lm-eval", str(run), *words)
    assert code == 2
    assert err.splitlines()[-1].startswith(told)
