"""Spoken digits of a speaker who was never heard in training, on a CPU.

    python experiments/speech_recognition.py configs/ctc_new_speaker.py --data.folder SPOKEN_DIGIT --data.leave-out theo

SPOKEN_DIGIT is the folder of the recordings of the Free Spoken Digit Dataset (Jackson et al. 2018), all of whose
recordings of one speaker are held out. `scripts/equalise_recordings.py` before it halves the errors. Beside
`ctc_spoken_digits` it has more noise, more dropout and random filters in training, and fewer updates: more of them
learn the other speakers by heart.
"""

from jaxlm.data.audio import Colour, Shift, SpecAugment, Speed, SpokenDigits, WhiteNoise
from jaxlm.data.tokenizers.specs import Words
from jaxlm.decode.speech.ctc import CTCSearch
from jaxlm.models.speech_to_tokens import BiLSTM, SpeechToTokens
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "speech_recognition"

config = Config(
    model=SpeechToTokens(vocab=12, encoder=BiLSTM(depth=1, width=128, dropout=0.3), bands=40, channels=24, dropout=0.3),
    data=SpokenDigits(
        folder="spoken_digit",
        leave_out="theo",
        tokenizer=Words(),
        widths=(6400, 20000),
        batch=32,
        eval_batch=125,
        augment=(Speed((0.8, 1.25)), Shift(0.1), Colour(strength=0.7), WhiteNoise((5.0, 40.0))),
        spec_augment=SpecAugment(bands=2, band=8, stretches=2, stretch=10, share=0.15),
    ),
    decode=CTCSearch(),
    optim=AdamW(peak_lr=3e-3, warmup=100, weight_decay=0.1, clip_norm=1.0),
    run=Run(steps=1000, eval_every=250, save_every=250, log_every=50, ema=0.99, metric="speech/wer"),
)
