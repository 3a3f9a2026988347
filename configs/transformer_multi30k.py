"""A small transformer translates English picture captions into German, on a CPU.

    python experiments/translation.py configs/transformer_multi30k.py --data.folder MULTI30K

MULTI30K holds the files of Multi30k's first task (Elliott et al. 2016), gzipped lines: 29,000 pairs for training, and
here the 1,000 of test_2016_flickr at the end; choices are made on `--data.eval-source val.en.gz --data.eval-target
val.de.gz`.
"""

from jaxlm.data.pairs import ParallelText
from jaxlm.data.tokenizers.specs import Subwords
from jaxlm.decode.seq2seq import BeamSearch
from jaxlm.losses import SequenceToSequence
from jaxlm.models.transformer import Transformer
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "translation"

config = Config(
    model=Transformer(vocab=6000, depth=4, width=128, heads=4, hidden=256, dropout=0.3),
    data=ParallelText(
        folder="multi30k",
        train_source="train.en.gz",
        train_target="train.de.gz",
        eval_source="test_2016_flickr.en.gz",
        eval_target="test_2016_flickr.de.gz",
        lower=True,
        tokenizer=Subwords(size=6000),
        batch=256,
        eval_batch=128,
        widths=(12, 15, 18, 21, 25, 32, 48),
    ),
    loss=SequenceToSequence(smoothing=0.1),
    decode=BeamSearch(beams=5, penalty=1.0),
    optim=AdamW(peak_lr=5e-3, warmup=400, b2=0.98, weight_decay=0.0, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(
        steps=4000,
        eval_every=2000,
        save_every=1000,
        keep_last=5,
        log_every=100,
        metric="translation/bleu",
        maximize=True,
    ),
)

ablations = {
    "greedy": ("--decode.beams", "1"),
    "no smoothing": ("--loss.smoothing", "0.0"),
}
