"""Sound: files, spectrograms on the device, recordings with what is said in them."""

from jaxlm.data.audio.augment import Colour, Gain, Shift, SpecAugment, Speed, WhiteNoise
from jaxlm.data.audio.sources import LibriSpeech, LJSpeech, Manifest, SpokenDigits
from jaxlm.data.audio.spectrogram import LogMel
from jaxlm.data.audio.strings import Strings
from jaxlm.data.audio.utterances import Speech
from jaxlm.data.audio.windowed import SpokenText

__all__ = [
    "Colour",
    "Gain",
    "LJSpeech",
    "LibriSpeech",
    "LogMel",
    "Manifest",
    "Shift",
    "SpecAugment",
    "Speech",
    "Speed",
    "SpokenDigits",
    "SpokenText",
    "Strings",
    "WhiteNoise",
]
