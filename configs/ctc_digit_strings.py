"""A small network recognises strings of 3 to 7 spoken digits with pauses and noise, on a CPU.

    python experiments/speech_recognition.py configs/ctc_digit_strings.py --data.folder SPOKEN_DIGIT

SPOKEN_DIGIT is the folder of the Free Spoken Digit Dataset (Jackson et al. 2018). A string is made of digits of one
speaker, pauses of 0.05 to 0.4 s and white noise 15 to 40 dB below the speech: in training of the set's training
recordings, drawn again in each epoch, and in the evaluation 500 strings of its test recordings.
"""

from jaxlm.data.audio import SpecAugment, SpokenDigits, Strings
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
        widths=(36000,),
        batch=8,
        eval_batch=100,
        strings=Strings(least=3, most=7, pause=(0.05, 0.4), noise=(15.0, 40.0), count=500),
        spec_augment=SpecAugment(bands=2, band=6, stretches=4, stretch=10, share=0.05),
    ),
    decode=CTCSearch(),
    optim=AdamW(peak_lr=3e-3, warmup=100, weight_decay=0.01, clip_norm=1.0),
    run=Run(steps=1500, eval_every=500, save_every=500, log_every=50, ema=0.99, metric="speech/wer"),
)

ablations = {
    "beam": ("--decode.beams", "8"),
}
