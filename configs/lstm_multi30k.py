"""An LSTM with attention translates English picture captions into German, on a CPU: the baseline of the transformers.

    python experiments/translation.py configs/lstm_multi30k.py --data.folder MULTI30K

MULTI30K and its splits are those of transformer_multi30k.py. The model is that of Luong et al. 2015 (arXiv:1508.04025)
with an encoder in both directions, of 5.4 million weights.
"""

from jaxlm.data.pairs import ParallelText
from jaxlm.data.tokenizers.specs import Subwords
from jaxlm.decode.seq2seq import BeamSearch
from jaxlm.losses import SequenceToSequence
from jaxlm.models.lstm_text_to_text import LSTMTextToText
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "translation"

config = Config(
    model=LSTMTextToText(vocab=6000, width=256, dropout=0.4),
    data=ParallelText(
        folder="multi30k",
        train_source="train.en.gz",
        train_target="train.de.gz",
        eval_source="test_2016_flickr.en.gz",
        eval_target="test_2016_flickr.de.gz",
        lower=True,
        tokenizer=Subwords(size=6000),
        batch=128,
        eval_batch=128,
        widths=(12, 15, 18, 21, 25, 32, 48),
    ),
    loss=SequenceToSequence(smoothing=0.1),
    decode=BeamSearch(beams=5, penalty=1.0),
    optim=AdamW(peak_lr=2e-3, warmup=400, b2=0.98, weight_decay=0.0, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=5000, eval_every=2500, save_every=500, log_every=100, metric="translation/bleu", maximize=True),
)

ablations = {
    "greedy": ("--decode.beams", "1"),
    "no smoothing": ("--loss.smoothing", "0.0"),
}
