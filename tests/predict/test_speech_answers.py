"""What is heard in a file is what the evaluation hears, at any rate and in any batch; words have their times."""

import io
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import soundfile

from jaxlm.data.audio import LogMel, Manifest
from jaxlm.data.audio.files import resample
from jaxlm.data.tokenizers.specs import Characters, Subwords, Words
from jaxlm.decode.speech.ctc import CTCSearch
from jaxlm.errors import BadInput
from jaxlm.models.speech_to_tokens import BiLSTM, SpeechToTokens
from jaxlm.predict import Predictor, answer_all
from jaxlm.predict.predictor import in_evaluation
from jaxlm.predict.sound.speech import ReadSpeech, WriteHeard, heard, listener
from jaxlm.steps import transforms

RATE = 8000
FEATURES = LogMel(rate=RATE, window=200, hop=80, bands=12)
LENGTHS = [1000, 4000, 2600, 800, 3900]


def recorded(number):
    return (0.2 * np.random.default_rng(number).normal(size=LENGTHS[number])).clip(-0.9, 0.9).astype(np.float32)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The data, a predictor, and variables with which every recording gives another text."""
    folder = tmp_path_factory.mktemp("speech")
    for number in range(len(LENGTHS)):
        soundfile.write(folder / f"{number}.wav", recorded(number), RATE)
    line = '{{"audio": "{}.wav", "text": "abc de"}}\n'
    (folder / "all.jsonl").write_text("".join(line.format(number) for number in range(len(LENGTHS))))
    path = str(folder / "all.jsonl")
    data = Manifest(train_file=path, eval_file=path, features=FEATURES, widths=(2000, 4000), batch=2, eval_batch=4)
    model = SpeechToTokens(vocab=6, encoder=BiLSTM(depth=1, width=8), bands=12, channels=4)
    hear = in_evaluation(transforms.prepare(heard(model), data.prepare))
    config = SimpleNamespace(model=model, data=data, decode=CTCSearch())
    answer = listener(config, data.build_tokenizer(), None)
    batches = tuple(
        {"audio": np.zeros((4, width), np.int16), "samples": np.zeros(4, np.int32)} for width in data.widths
    )
    variables = jax.tree.map(lambda x: 4 * x, jax.jit(model.init)(jax.random.key(0), *data.example()))
    return data, Predictor(ReadSpeech(RATE, data.widths), hear, answer, batches), variables, folder


def test_files_are_heard_as_in_the_evaluation_in_batches_of_any_size(case):
    data, predictor, variables, folder = case
    apply, expected, batches = jax.jit(predictor.apply), {}, data.eval()
    for index in range(len(batches)):
        batch = batches[index]
        found = jax.device_get(apply(variables, {name: batch[name] for name in ("audio", "samples")}))
        for row in np.flatnonzero(batch["mask"]):
            outputs = found["log_probs"][row][: found["outputs"][row]]
            expected[int(batch["row"][row])] = predictor.postprocess.text(outputs)
    assert len(set(expected.values())) > 2
    files = [folder / f"{number}.wav" for number in range(len(LENGTHS))]
    for size in (None, 1, 3):
        answers = list(answer_all(predictor, variables, files, batch=size))
        assert [answer["text"] for answer in answers] == [expected[number] for number in range(len(files))]
        assert json.loads(json.dumps(answers)) == answers
    samples = [recorded(number) for number in range(len(LENGTHS))]
    arrays = list(answer_all(predictor, variables, samples))
    assert [answer["text"] for answer in arrays] == [expected[number] for number in range(len(files))]


def test_any_rate_and_format_gives_the_row_of_the_model(case):
    _, predictor, _, _ = case
    sound = resample(recorded(1), RATE, 44100)
    content = io.BytesIO()
    soundfile.write(content, np.stack([sound, sound], 1), 44100, format="FLAC")
    (found,) = predictor.preprocess([content.getvalue()])
    assert found.rows[0]["audio"].shape == (4000,)
    assert found.rows[0]["samples"] == 4000
    assert found.context == 0.5
    middle = slice(200, -200)
    assert np.abs(found.rows[0]["audio"] / 32768 - recorded(1))[middle].std() < 0.06 * recorded(1).std() * 4


def test_a_recording_longer_than_all_of_training_is_heard_whole(case):
    _, predictor, variables, _ = case
    (found,) = predictor.preprocess([np.concatenate([recorded(1), recorded(2)])])
    assert found.rows[0]["audio"].shape == (8000,)
    (answer,) = answer_all(predictor, variables, [np.concatenate([recorded(1), recorded(2)])])
    assert all(0 <= word["start"] < word["end"] <= 6600 / RATE for word in answer["words"])


@pytest.mark.parametrize(
    "given", [b"noise", "none.wav", np.zeros(0, np.float32), np.zeros((3, 3)), np.array([np.nan]), np.arange(3), 7]
)
def test_what_cannot_be_heard_is_one_line(case, given):
    _, predictor, _, _ = case
    (found,) = predictor.preprocess([given])
    assert isinstance(found, BadInput)
    assert "\n" not in str(found)


def peaks(tokens, blank, size, count=20):
    """Outputs [count, size] that say one token every four outputs, for two of them."""
    log_probs = np.full((count, size), -9.0, np.float32)
    log_probs[:, blank] = -0.1
    for number, token in enumerate(tokens):
        log_probs[4 * number + 1 : 4 * number + 3, token] = -0.01
    return {"log_probs": log_probs, "outputs": np.int32(count)}


@pytest.mark.parametrize("spec", [Words(), Characters(), Subwords(257)])
def test_words_begin_with_their_first_token_and_end_with_their_last(spec):
    text = "ab c"
    tokenizer = spec.build([text])
    tokens = tokenizer.encode(text).tolist()
    answer = WriteHeard(tokenizer, CTCSearch(), tokenizer.vocab, 0.5)(
        [peaks(tokens, tokenizer.vocab, tokenizer.vocab + 1)], 99.0
    )
    assert answer["text"] == text
    number = {"ab": (0, 0), "c": (1, 1)} if isinstance(spec, Words) else {"ab": (0, 1), "c": (3, 3)}
    assert answer["words"] == [
        {"word": word, "start": (4 * first + 1) / 2, "end": (4 * last + 3) / 2}
        for word, (first, last) in number.items()
    ]


def test_a_real_utterance_goes_the_whole_way(real_data):
    features = LogMel(rate=16000, bands=12)
    read = ReadSpeech(16000, (32000, 64000))
    (prepared,) = read([real_data / "jfk.flac"])
    assert prepared.context == 11.0
    assert prepared.rows[0]["audio"].shape == (192000,)
    model = SpeechToTokens(vocab=6, encoder=BiLSTM(depth=1, width=8), bands=12, channels=4)
    data = Manifest(features=features)
    apply = in_evaluation(transforms.prepare(heard(model), data.prepare))
    variables = jax.jit(model.init)(jax.random.key(0), *data.example())
    zeros = {"audio": np.zeros((1, 32000), np.int16), "samples": np.zeros(1, np.int32)}
    listen = WriteHeard(Characters().build(["abc de"]), CTCSearch(), 6, 0.04)
    predictor = Predictor(read, apply, listen, (zeros,))
    (answer,) = answer_all(predictor, jax.tree.map(lambda x: 4 * x, variables), [real_data / "jfk.flac"])
    assert answer["words"]
    assert " ".join(word["word"] for word in answer["words"]) == answer["text"]
    times = [time for word in answer["words"] for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= 11.0
