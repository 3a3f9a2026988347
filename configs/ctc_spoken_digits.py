"""A small network recognises spoken digits, on a CPU.

    python experiments/speech_recognition.py configs/ctc_spoken_digits.py --data.folder SPOKEN_DIGIT

SPOKEN_DIGIT is the folder of the recordings of the Free Spoken Digit Dataset (Jackson et al. 2018). Its own split keeps
ten recordings of each speaker and digit apart for training; `--data.leave-out theo` evaluates on a speaker who was
never heard.
"""

from jaxlm.data.audio import Shift, SpecAugment, Speed, SpokenDigits
from jaxlm.data.tokenizers.specs import Words
from jaxlm.decode.speech.ctc import CTCSearch
from jaxlm.models.speech_to_tokens import BiLSTM, SpeechToTokens
from jaxlm.optim import AdamW
from jaxlm.train import Config, Run

experiment = "speech_recognition"

config = Config(
    model=SpeechToTokens(vocab=12, encoder=BiLSTM(depth=1, width=128, dropout=0.1), bands=40, channels=24, dropout=0.1),
    data=SpokenDigits(
        folder="spoken_digit",
        tokenizer=Words(),
        widths=(6400, 20000),
        batch=32,
        eval_batch=125,
        augment=(Speed((0.85, 1.15)), Shift(0.1)),
        spec_augment=SpecAugment(bands=2, band=6, stretches=2, stretch=10, share=0.15),
    ),
    decode=CTCSearch(),
    optim=AdamW(peak_lr=3e-3, warmup=100, weight_decay=0.01, clip_norm=1.0),
    run=Run(steps=1600, eval_every=400, save_every=400, log_every=50, ema=0.99, metric="speech/wer"),
)
