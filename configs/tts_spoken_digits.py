"""A small network speaks digits in the voices of the Free Spoken Digit Dataset, on a CPU.

    python experiments/speech_synthesis.py configs/tts_spoken_digits.py --data.speech.folder SPOKEN_DIGIT
    jaxlm predict RUN "seven three" --speaker theo --vocoder RUN_OF_A_VOCODER

SPOKEN_DIGIT is the folder of the recordings (Jackson et al. 2018). `configs/vocos_spoken_digits.py` trains a vocoder on
the same spectrograms; without one the Griffin-Lim algorithm finds the phases.
"""

from jaxlm.data.audio import LogMel, SpokenDigits
from jaxlm.data.audio.voices import Voices
from jaxlm.data.tokenizers.specs import Characters
from jaxlm.decode.flow import Speak
from jaxlm.losses import TextToMel
from jaxlm.models.matcha import Matcha
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "speech_synthesis"

config = Config(
    model=Matcha(vocab=16, speakers=5, bands=64, width=96, hidden=256, depth=2, decoder_depth=3, dropout=0.1),
    data=Voices(
        speech=SpokenDigits(
            folder="spoken_digit",
            tokenizer=Characters(),
            features=LogMel(rate=8000, window=320, hop=80, bands=64, low=40.0, power=1.0, floor=1e-4),
            widths=(4000, 7200),
            batch=32,
            eval_batch=50,
        ),
        centre=-6.4,
        spread=1.9,
    ),
    loss=TextToMel(),
    decode=Speak(steps=8, temperature=0.667),
    optim=AdamW(peak_lr=2e-3, warmup=200, weight_decay=0.01, clip_norm=1.0),
    run=Run(steps=4000, eval_every=2000, save_every=500, preview_every=1000, log_every=100, ema=0.995),
)

ablations = {
    "4 steps": ("--decode.steps", "4"),
    "no averages": ("--loss.prior", "0.0"),
}
