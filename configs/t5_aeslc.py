"""A small T5 writes the subjects of e-mails on a CPU, pre-trained on their bodies alone.

    python experiments/span_corruption.py configs/t5_aeslc_spans.py --run.directory runs/t5_aeslc_spans
    python experiments/summarization.py configs/t5_aeslc.py

Data: TFDS aeslc (Zhang and Tetreault 2019), 14,436 e-mails to train on and at the end the 1,906 of its test split;
choices are made on `--data.eval-split validation`.
"""

from jaxlm.data.pairs import TfdsPairs
from jaxlm.data.tokenizers.specs import BPE
from jaxlm.decode.seq2seq import BeamSearch
from jaxlm.losses import SequenceToSequence
from jaxlm.models.t5 import T5
from jaxlm.optim import Adafactor
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run
from jaxlm.train.init_from import InitFrom

experiment = "summarization"

config = Config(
    model=T5(
        vocab=4096, depth=3, width=128, heads=4, head_width=32, hidden=256, activation="geglu", reach=64, dropout=0.2
    ),
    data=TfdsPairs(
        name="aeslc",
        eval_split="test",
        lower=True,
        tokenizer=BPE("runs/t5_aeslc_spans/tokenizer.json"),
        batch=32,
        eval_batch=128,
        widths=(64, 128),
        target_widths=(24, 24),
        overlong="cut",
    ),
    loss=SequenceToSequence(smoothing=0.1),
    decode=BeamSearch(beams=4, penalty=1.0, ratio=0.0, extra=24),
    init=InitFrom("runs/t5_aeslc_spans"),
    optim=Adafactor(peak_lr=1e-2, momentum=0.9, warmup=200, weight_decay=0.0, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=4000, eval_every=1000, save_every=500, log_every=50, metric="summary/rouge1"),
)

ablations = {
    "greedy": ("--decode.beams", "1"),
    "no smoothing": ("--loss.smoothing", "0.0"),
}
