"""Train a network to speak: text to mel spectrograms in several voices, without autoregression (Matcha-TTS).

python experiments/speech_synthesis.py configs/tts_spoken_digits.py --data.speech.folder SPOKEN_DIGIT [...]
"""

from collections.abc import Mapping

from jaxlm import steps
from jaxlm.data.audio.voices import SPEAKERS, read_speakers
from jaxlm.data.tokenizers.specs import load_tokenizer
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.sound.voices import sound_files, spoken, voice_predictor
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised

SHOWN = 4  # texts of the evaluation that a preview speaks, each in another voice


def build(config: Config, place: Placement) -> Experiment:
    """Compose flow matching, average frames and durations, with a preview to listen to."""

    def loss_of(config: Config) -> LossFn:
        loss = transforms.cast(config.loss(config.model), config.run.dtype)
        return transforms.prepare(loss, config.data.prepare)

    return supervised(loss_of, config, place, preview=lambda state: preview(config, state))


def voice(config: Config) -> LossFn:
    """Return the function that speaks a batch of texts."""
    return transforms.cast(spoken(config.model, config.decode), config.run.dtype)


def preview(config: Config, state: steps.TrainState) -> Mapping[str, str | bytes]:
    """Speak texts of the evaluation, one in each voice."""
    data = config.data
    texts, voices = list(dict.fromkeys(data.references())), data.speakers
    inputs = [(texts[number % len(texts)], voices[number % len(voices)]) for number in range(SHOWN)]
    variables = steps.eval_variables(state.params, state.variables, state.ema)
    predictor = voice_predictor(voice(config), config, data.build_tokenizer(), voices)
    return sound_files(predictor, variables, inputs, data.features)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with a text as it is spoken."""
    tokenizer, speakers = load_tokenizer(run.artefact("tokenizer.json")), read_speakers(run.artefact(SPEAKERS))
    return voice_predictor(voice(config), config, tokenizer, speakers)


if __name__ == "__main__":
    main(build)
