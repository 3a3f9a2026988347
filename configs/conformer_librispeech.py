"""A small Conformer on LibriSpeech with CTC, the shape of Gulati et al. 2020 (arXiv:2005.08100): an accelerator's job.

    python experiments/speech_recognition.py configs/conformer_librispeech.py --data.folder LIBRISPEECH

LIBRISPEECH holds the subsets as they are unpacked (Panayotov et al. 2015). All 960 hours are kept in memory as 16-bit
samples, 110 GB; `--data.train-subsets train-clean-100` needs 12 GB. Tokens are characters. Published: 9.7 % of the
words of test-clean are wrong for a Conformer of this size by best path. Score: not run, for want of an accelerator.
"""

from jaxlm.data.audio import LibriSpeech, SpecAugment, Speed
from jaxlm.decode.speech.ctc import CTCSearch
from jaxlm.models.conformer import CONFORMER_SMALL
from jaxlm.models.speech_to_tokens import SpeechToTokens
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "speech_recognition"

config = Config(
    model=SpeechToTokens(vocab=28, encoder=CONFORMER_SMALL.clone(remat=True), bands=80, channels=144),
    data=LibriSpeech(
        folder="LibriSpeech",
        train_subsets=("train-clean-100", "train-clean-360", "train-other-500"),
        eval_subsets=("dev-clean",),
        widths=(80000, 160000, 240000, 280000, 560000),
        batch=256,
        eval_batch=64,
        augment=(Speed((0.9, 1.1)),),
        spec_augment=SpecAugment(bands=2, band=27, stretches=10, stretch=100, share=0.05),
    ),
    decode=CTCSearch(),
    optim=AdamW(peak_lr=2e-3, warmup=10000, weight_decay=1e-3, b2=0.98, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(
        steps=110000,
        dtype="bfloat16",
        ema=0.999,
        workers=0,
        eval_every=5500,
        save_every=1100,
        log_every=100,
        metric="speech/wer",
    ),
)
