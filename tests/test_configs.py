"""Every config, shrunk, goes the whole way of a run: train, lose its last checkpoint, resume, evaluate, predict.

A slow config is not resumed where another config of its experiment is.

Its first 20 losses are those of tests/golden. A refactor must not move them; a change that intends to writes new ones:

    JAXLM_WRITE_GOLDEN=1 python3 scripts/env.py --extras dev pytest tests/test_configs.py
"""

import io
import json
import os
import shutil
from functools import partial

import jax
import numpy as np
import pytest

import jaxlm
from jaxlm.data.audio.files import encode_wav
from jaxlm.data.images.decode import from_pixels
from jaxlm.export.artefact import to_wire
from jaxlm.export.card import ModelFacts
from jaxlm.export.write import write_artefact
from jaxlm.runs.directory import RunDirectory
from jaxlm.serve.model import Batching
from jaxlm.steps import compute
from jaxlm.train.recorder import Recorder
from serve.served import service
from shrunk_agents import ON_POLICY, agent_words
from shrunk_detectors import DETECTORS, detector_words
from shrunk_images import FEDERATED, IMAGES, image_words
from shrunk_pictures import CODES, GANS, JUDGES, PICTURES, WRITTEN, picture_words
from shrunk_recommenders import RECOMMENDERS, recommender_words
from shrunk_replay import REPLAY_EXPERIMENTS, REPLAYED, REWARDED, replay_words
from shrunk_sound import SPEECH, TRANSCRIBED, VOICES, speech_words, transcribed_words
from shrunk_tables import INCOMES, TABLES, table_rows, table_words
from shrunk_texts import (
    ASKED,
    LANGUAGE,
    MASKED,
    PAIRS,
    TAGS,
    TALKS,
    TEXTS,
    language_words,
    pair_words,
    question_words,
    tag_words,
    talk_words,
    text_words,
)
from test_resume import records
from whole_path import ROOT, final_bits, losses, run_main

CONFIGS = sorted((ROOT / "configs").glob("*.py"))
TFDS_SPECS = ("TfdsText(", "TfdsPairs(")
ONE_BATCH: set[str] = set()  # jax.export cannot leave the number of their rows open
NEEDS_TFDS = [
    path.stem
    for path in CONFIGS
    if any(spec in path.read_text() for spec in TFDS_SPECS)
    or path.stem.endswith(("_sst2", "_mnist"))
    or path.stem in ("dit_mnist_captions", "fcos_bccd", "detr_bccd")
    or path.stem.endswith("_attributes")
]
EXPERIMENTS = {
    **dict.fromkeys(ON_POLICY, "ppo.py"),
    **REPLAY_EXPERIMENTS,
    **dict.fromkeys(RECOMMENDERS, "recommendation.py"),
    **dict.fromkeys(TRANSCRIBED, "speech_to_text.py"),
    **dict.fromkeys(ASKED, "question_answering.py"),
    **dict.fromkeys(VOICES, "speech_synthesis.py"),
    "vocos_spoken_digits": "vocoder.py",
    **dict.fromkeys(SPEECH, "speech_recognition.py"),
    **dict.fromkeys(PAIRS, "translation.py"),
    "t5_aeslc": "summarization.py",
    "t5_aeslc_spans": "span_corruption.py",
    **dict.fromkeys(TEXTS, "text_classification.py"),
    **dict.fromkeys(TAGS, "token_classification.py"),
    **dict.fromkeys(IMAGES, "image_classification.py"),
    **dict.fromkeys(FEDERATED, "federated.py"),
    **dict.fromkeys(PICTURES, "text_to_image.py"),
    "latent_dit_digits": "latent_diffusion.py",
    **dict.fromkeys(GANS, "gan.py"),
    **dict.fromkeys(CODES, "image_codes.py"),
    **dict.fromkeys(JUDGES, "contrastive.py"),
    **dict.fromkeys(WRITTEN, "caption_to_codes.py"),
    **dict.fromkeys(DETECTORS, "detection.py"),
    **dict.fromkeys(TALKS, "instruction_tuning.py"),
    **dict.fromkeys(MASKED, "masked_language_model.py"),
    "llama_stories_dpo": "preference_tuning.py",
    **dict.fromkeys(TABLES, "tabular_regression.py"),
    **dict.fromkeys(INCOMES, "tabular_classification.py"),
}

SLOW = (  # one or two configs of each experiment are in the default tests
    "a2c_cartpole",
    "cnn_mnist",
    "federated_mnist",
    "gpt_shakespeare_char_cpu",
    "resnet18_folder",
    "resnet20_cifar10_crops",
    "resnet50_imagenet",
    "resnet56_hymenoptera",
    "inception_imagenet",
    "llama_stories",
    "vit_s16_imagenet",
    "resnet18_cifar10",
    "vit_cifar10",
    "llama_1b",
    "gpt2_124m",
    "gpt_shakespeare_char",
    "gpt2_lora_chat",
    "minilm_sst2",
    "dp_minilm_sst2",
    "dp_mnist",
    "bert_base_sst2",
    "lstm_sst2",
    "bert_base_conll2003",
    "bert_base_squad",
    "conformer_librispeech",
    "ctc_digit_strings",
    "ctc_new_speaker",
    "matcha_ljspeech",
    "dit_mnist_captions",
    "dit_attributes",
    "vq_vae_attributes",
    "dalle_attributes",
    "dit_cifar10",
    "dit_emoji32",
    "clip_emoji32",
    "gan_mnist",
    "fcos_bccd",
    "detr_bccd",
    "latent_dit_digits",
    "resnet20_cifar10",
    "ft_transformer_housing",
    "dlrm_adult",
    "ft_transformer_adult",
    "wide_and_deep_adult",
    "lstm_multi30k",
    "transformer_base_wmt14",
    "neumf_citeulike",
    "neumf_movielens",
    "sasrec_movielens",
    "two_tower_citeulike",
    "ppo_acrobot",
    "ppo_breakout",
    "ppo_catch",
    "ppo_pendulum",
    "sac_pendulum",
    "dqn_mountain_car",
    "cql_cartpole",
    "bc_cartpole",
    "gpt_sort_digits",
)
# One config of each experiment, of the default tests where there is one, is resumed, and is asked over HTTP, too.
SERVED = {
    EXPERIMENTS.get(name, "language_model.py"): name
    for name in sorted((path.stem for path in CONFIGS), key=lambda name: (name in SLOW, name), reverse=True)
}.values()

# Batch norm in deep networks, and the angle of a small number, amplify the rounding of another compiler or chip from
# update to update.
AMPLIFIED = ("inception_imagenet", "resnet50_imagenet", "resnet56_hymenoptera", "cnn_mnist", "resnet20_cifar10")
AMPLIFIED += ("resnet20_cifar10_crops", "vocos_spoken_digits")  # phases of small spectra in the last
AMPLIFIED += tuple(GANS)  # two nets against each other, by Adam without momentum
AMPLIFIED += (*REPLAYED, *REWARDED)
AMPLIFIED += tuple(ON_POLICY)  # an action that is drawn otherwise is another episode
# Seen in two of some eighty runs, beside other tests: one bit of a loss after ten updates. The cause is not known.
UNSTEADY = ("lstm_sst2", "lstm_trec")


def words_of(name, tmp_path, monkeypatch):
    """The words that shrink a config of whatever kind."""
    if name in TAGS:
        return tag_words(name, tmp_path, monkeypatch)
    if name in RECOMMENDERS:
        return recommender_words(name, tmp_path, monkeypatch)
    kinds = (
        (REPLAY_EXPERIMENTS, replay_words),
        (ON_POLICY, agent_words),
        ({**SPEECH, **VOICES}, speech_words),
        (TRANSCRIBED, transcribed_words),
        (IMAGES, image_words),
        (DETECTORS, detector_words),
        ({**PICTURES, **GANS, **CODES, **WRITTEN, **JUDGES}, picture_words),
        (TALKS, talk_words),
        (TEXTS, text_words),
        (PAIRS, pair_words),
        (ASKED, question_words),
        ({**TABLES, **INCOMES}, table_words),
    )
    return next((words for kind, words in kinds if name in kind), language_words)(name, tmp_path)


def config_or_slow(path):
    return pytest.param(path, id=path.stem, marks=pytest.mark.slow if path.stem in SLOW else ())


@pytest.mark.parametrize("path", [config_or_slow(path) for path in CONFIGS])
def test_a_shrunk_config_trains_resumes_evaluates_and_predicts(path, tmp_path, monkeypatch):
    if path.stem in NEEDS_TFDS and not os.environ.get("TFDS_DATA_DIR"):
        pytest.skip("TFDS_DATA_DIR is not set: no prepared TFDS data on this machine")
    if path.stem.startswith("dp_"):
        pytest.importorskip("dp_accounting", reason="dp-accounting is not installed: pip install 'jaxlm[privacy]'")
    words = words_of(path.stem, tmp_path, monkeypatch)
    experiment = EXPERIMENTS.get(path.stem, "language_model.py")
    run_main(monkeypatch, experiment, path, *words, "--run.directory", str(tmp_path / "run"))
    found = losses(tmp_path / "run")
    assert len(found) == 20
    # 94 layers on eight images; noise; two nets against each other; what an agent learns from follows what it does
    if path.stem not in ("inception_imagenet", "dp_minilm_sst2", *GANS, *ON_POLICY, *REPLAY_EXPERIMENTS):
        assert sum(found[-5:]) < sum(found[:5])
    check_golden(path.stem, found, RunDirectory(tmp_path / "run").lineage()["sessions"][-1]["fingerprint"])
    if path.stem not in SLOW or path.stem in SERVED:
        check_resumed(
            tmp_path, lambda folder: run_main(monkeypatch, experiment, path, *words, "--run.directory", folder)
        )
    check_evaluated(tmp_path / "run")
    inputs, answers = check_predicted(path.stem, tmp_path / "run")
    check_exported(path.stem, tmp_path, inputs, answers)
    if path.stem in SERVED:
        check_served(tmp_path / "artefact", inputs)


def check_golden(name, found, fingerprint):
    """The losses are the golden ones: bit for bit on the machine that wrote them, else to a tolerance."""
    golden = ROOT / "tests" / "golden" / f"{name}.json"
    if os.environ.get("JAXLM_WRITE_GOLDEN"):
        golden.write_text(json.dumps({"fingerprint": fingerprint, "losses": found}, indent=1) + "\n")
    stored = json.loads(golden.read_text())
    if stored["fingerprint"] == fingerprint and name not in UNSTEADY:
        assert found == stored["losses"]
    elif name in AMPLIFIED:
        # advantages within a group have a mean of 0, so a loss of answers may be rounding alone at first
        np.testing.assert_allclose(found[:2], stored["losses"][:2], rtol=1e-2, atol=1e-6)
    else:
        bounds = dict.fromkeys((*IMAGES, *DETECTORS, "dp_minilm_sst2"), 1e-3)
        bounds |= dict.fromkeys(("conformer_librispeech", "ctc_new_speaker"), 1e-4)  # logarithms of small spectra
        bounds |= dict.fromkeys(("dalle_digits", "dalle_attributes"), 1e-3)  # rounding chooses of two codes as near
        np.testing.assert_allclose(found, stored["losses"], rtol=bounds.get(name, 1e-5))


def check_resumed(folder, run):
    """A copy without the last checkpoint, as a kill leaves it, ends in the same bits and the same records."""
    shutil.copytree(folder / "run", folder / "killed")
    shutil.rmtree(folder / "killed" / "checkpoints" / "20")
    run(str(folder / "killed"))
    assert final_bits(folder / "killed") == final_bits(folder / "run")
    assert records(folder / "killed") == records(folder / "run")


def check_evaluated(run):
    """What the run recorded at its end is what its kept experiment file and checkpoint give."""
    recorder = Recorder.existing(run)
    sums = recorder.sums(recorder.restore(20))
    found = {name: x for key, metrics in sums.items() for name, x in compute(metrics, f"{key}/").items()}
    recorded = recorder.run_dir.evaluation_at(20, sums)
    assert recorded == {name: x if np.isfinite(x) else None for name, x in found.items()}


def check_predicted(name, run):
    """The run answers raw inputs of its kind with JSON, one answer an input; returns both."""
    if name in (*IMAGES, *DETECTORS):
        inputs = list(RunDirectory(run).config().data.eval()[0]["image"][:2])
    elif name in ASKED:
        inputs = [{"question": "Who?", "context": "You may copy it."}]
    elif name in (*SPEECH, *TRANSCRIBED, "vocos_spoken_digits"):
        batch = RunDirectory(run).config().data.eval()[0]
        inputs = [batch["audio"][row, : batch["samples"][row]] / 32768 for row in range(2)]
    elif name in (*TABLES, *INCOMES):
        inputs = table_rows(name)
    elif name in RECOMMENDERS:
        inputs = [{"user": "1", "top": 3}, "2"]
    elif name in REWARDED:
        inputs = ["42=", "00="]
    elif name in (*ON_POLICY, *REPLAYED):
        environment = RunDirectory(run).config().data.environment
        inputs = np.random.default_rng(0).normal(size=(2, *environment.observation_space.shape)).tolist()
    elif name in VOICES:
        inputs = ["seven", {"text": "three"}]
    elif name in {**CODES, **JUDGES}:
        inputs = list(RunDirectory(run).config().data.eval()[0]["image"][:2])
    elif name in (*PICTURES, *GANS, *WRITTEN):
        inputs = [*RunDirectory(run).config().data.prompts(1), ""]
    else:
        inputs = ["You may [MASK] it."] if name in MASKED else ["You may copy it.", "the License"]
        inputs = ["a n d", "t h e"] if name == "lstm_cmudict" else inputs
    answers = json.loads(json.dumps(jaxlm.load(run)(inputs)))
    assert len(answers) == len(inputs)
    assert all({"samples", "rate", "seconds"} <= answer.keys() for answer in answers if name in VOICES)
    classes = {**IMAGES, **TEXTS, **INCOMES, **JUDGES}
    keys = {"label", "probability", "probabilities"} if name in classes else {"entities", "words"}
    assert all(keys <= answer.keys() for answer in answers if name in {**classes, **TAGS})
    assert all(isinstance(answer["value"], float) for answer in answers if name in TABLES)
    assert all("action" in answer for answer in answers if name in REPLAYED)
    assert all({"action", "value"} <= answer.keys() for answer in answers if name in ON_POLICY)
    assert all(len(answer["items"]) == len(answer["scores"]) > 2 for answer in answers if name in RECOMMENDERS)
    assert all(
        {"pixels", "height", "width"} <= answer.keys() for answer in answers if name in {**PICTURES, **CODES, **WRITTEN}
    )
    assert all({"answer", "start", "end", "probability"} <= answer.keys() for answer in answers if name in ASKED)
    assert all(
        isinstance(answer["text"], str)
        for answer in answers
        if name in {**REWARDED, **LANGUAGE, **TALKS, **PAIRS, **SPEECH, **TRANSCRIBED}
    )
    return inputs, answers


def check_exported(name, folder, inputs, answers):
    """An artefact of the run gives the same answers, on its probes, which are compared in writing, and on inputs.

    Its programs take any number of rows, on every platform, but those of `ONE_BATCH`; and it has a batch of each shape
    that the run has, which is what a service compiles before it answers.
    """
    (folder / "artefact").mkdir()
    run, said = jaxlm.load(folder / "run"), []
    write_artefact(folder / "artefact", run, ModelFacts("run", 20), say=said.append)
    assert bool(said) == (name in ONE_BATCH), said
    shapes = [jax.tree.map(np.shape, one.predictor.examples) for one in (run, jaxlm.load(folder / "artefact"))]
    assert run.predictor.shapes or shapes[0] == shapes[1]
    assert json.loads(json.dumps(jaxlm.load(folder / "artefact")(inputs))) == answers


def check_served(artefact, inputs):
    """A batch-invariant service answers the same inputs as JSON as the predictor does, alone and together."""
    model = jaxlm.load(artefact)
    sent = [as_json(one, getattr(model.predictor.preprocess, "rate", 0)) for one in inputs]
    answer = partial(model, batch=model.predictor.batch)
    expected = [json.loads(json.dumps(answer(given))) for given in (inputs, *([one] for one in inputs))]
    with service([artefact], batching=Batching(fixed=True)) as client:
        found = [client.predict(given)["answers"] for given in (sent, *([one] for one in sent))]
    assert found == expected  # an input that draws noise draws it by its place in the request


def as_json(given, rate):
    """A raw input as a client sends it: arrays as the bytes of a PNG file, or of a WAV file of that rate."""
    if not isinstance(given, np.ndarray):
        return given
    if given.dtype == np.uint8:
        content = io.BytesIO()
        from_pixels(given).save(content, "PNG")
        return to_wire(content.getvalue())
    return to_wire(encode_wav(given, rate))
