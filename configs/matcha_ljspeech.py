"""Matcha-TTS on LJSpeech, one reader of 24 hours, for one accelerator.

    python experiments/speech_synthesis.py configs/matcha_ljspeech.py --data.speech.folder LJSpeech-1.1

Texts are their characters, not phonemes: the paper's words come from a phonemiser that is not a dependency here. The
spectrograms are those of HiFi-GAN (22,050 Hz, 1,024 samples, 80 bands up to 8 kHz), so that its vocoders apply.
"""

from jaxlm.data.audio import LJSpeech, LogMel
from jaxlm.data.audio.voices import Voices
from jaxlm.data.tokenizers.specs import Characters
from jaxlm.decode.flow import Speak
from jaxlm.losses import TextToMel
from jaxlm.models.matcha import Matcha
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "speech_synthesis"

config = Config(
    model=Matcha(vocab=48, speakers=1, bands=80, width=256, hidden=1024, depth=6, decoder_depth=10, dropout=0.1),
    data=Voices(
        speech=LJSpeech(
            folder="LJSpeech-1.1",
            tokenizer=Characters(),
            features=LogMel(rate=22050, window=1024, hop=256, bands=80, high=8000.0, power=1.0, floor=1e-5),
            widths=(88200, 132300, 176400, 224000),
            batch=32,
            eval_batch=32,
        ),
        centre=-5.5,
        spread=2.1,
    ),
    loss=TextToMel(),
    decode=Speak(steps=10, frames=10),
    optim=AdamW(peak_lr=4e-4, warmup=2000, weight_decay=0.01, clip_norm=1.0),
    run=Run(
        steps=200_000,
        eval_every=5000,
        save_every=5000,
        preview_every=5000,
        log_every=100,
        ema=0.999,
        dtype="bfloat16",
    ),
)
