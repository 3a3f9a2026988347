"""A small T5 learns to write the hidden spans of e-mails, on a CPU: the pre-training of configs/t5_aeslc.py.

    python experiments/span_corruption.py configs/t5_aeslc_spans.py --run.directory runs/t5_aeslc_spans

Data: the bodies of TFDS aeslc, trained on its train split, evaluated on those of its validation split.
"""

from jaxlm.data.pairs import SourceText, SpanCorruption, TfdsPairs
from jaxlm.data.tokenizers.specs import Subwords
from jaxlm.decode.seq2seq import BeamSearch
from jaxlm.losses import SequenceToSequence
from jaxlm.models.t5 import T5
from jaxlm.optim import Adafactor
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "span_corruption"

config = Config(
    model=T5(
        vocab=4096, depth=3, width=128, heads=4, head_width=32, hidden=256, activation="geglu", reach=64, dropout=0.1
    ),
    data=SpanCorruption(
        SourceText(
            pairs=TfdsPairs(name="aeslc", lower=True),
            tokenizer=Subwords(size=4096, sentinels=32),
            batch=32,
            length=96,
        )
    ),
    loss=SequenceToSequence(smoothing=0.0),
    decode=BeamSearch(beams=1, ratio=0.5),
    optim=Adafactor(peak_lr=2e-2, momentum=0.9, warmup=200, weight_decay=0.0, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=6000, eval_every=1000, save_every=500, log_every=50),
)

ablations = {
    "single tokens": ("--data.span", "1"),
    "30 % hidden": ("--data.rate", "0.3"),
}
