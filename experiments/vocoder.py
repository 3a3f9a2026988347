"""Train a vocoder: sound from mel spectrograms, compared with the recordings in spectra of several resolutions.

python experiments/vocoder.py configs/vocos_spoken_digits.py --data.speech.folder SPOKEN_DIGIT
"""

from jaxlm.data.audio.spectrogram import Stft
from jaxlm.losses import spectral
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.sound.vocoders import copied, copier, sound_of
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised


def of_recordings(function: LossFn, config: Config) -> LossFn:
    """Let a function of mel spectrograms read recordings."""
    return transforms.prepare(transforms.cast(function, config.run.dtype, inputs=("mel",)), config.data.prepare)


def build(config: Config, place: Placement) -> Experiment:
    """Compose the distance of spectra."""

    def loss_of(config: Config) -> LossFn:
        resolutions = [Stft(window, hop) for window, hop in config.loss.resolutions]
        return of_recordings(spectral(sound_of(config), resolutions), config)

    return supervised(loss_of, config, place)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with a recording as the vocoder makes it from its mel spectrogram (copy synthesis)."""
    del run
    return copier(of_recordings(copied(config), config), config)


if __name__ == "__main__":
    main(build)
