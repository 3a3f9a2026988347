"""A small neural vocoder of 8 kHz speech, trained on the Free Spoken Digit Dataset, on a CPU.

    python experiments/vocoder.py configs/vocos_spoken_digits.py --data.speech.folder SPOKEN_DIGIT
    jaxlm predict RUN recording.wav

SPOKEN_DIGIT is the folder of the recordings (Jackson et al. 2018). The spectrograms are those of
`configs/tts_spoken_digits.py`.
"""

from jaxlm.data.audio import LogMel, SpokenDigits
from jaxlm.data.audio.voices import Sounds
from jaxlm.data.tokenizers.specs import Characters
from jaxlm.losses import Spectral
from jaxlm.models.vocos import Vocos
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "vocoder"

config = Config(
    model=Vocos(bands=64, fft=320, width=96, hidden=256, depth=4),
    data=Sounds(
        speech=SpokenDigits(
            folder="spoken_digit",
            tokenizer=Characters(),
            features=LogMel(rate=8000, window=320, hop=80, bands=64, low=40.0, power=1.0, floor=1e-4),
            widths=(4000, 7200),
            batch=16,
            eval_batch=50,
        ),
        centre=-6.4,
        spread=1.9,
    ),
    loss=Spectral(resolutions=((80, 20), (160, 40), (320, 80), (640, 160))),
    optim=AdamW(peak_lr=2e-3, warmup=200, weight_decay=0.01, clip_norm=1.0),
    run=Run(steps=1600, eval_every=800, save_every=400, log_every=100, ema=0.995),
)
