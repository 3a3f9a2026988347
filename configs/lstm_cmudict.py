r"""An LSTM with attention reads English words aloud: letters to sounds of CMU's pronouncing dictionary, on a CPU.

    python scripts/prepare_cmudict.py CMUDICT
    python experiments/translation.py configs/lstm_cmudict.py --data.train-file CMUDICT/train.tsv \
        --data.eval-file CMUDICT/valid.tsv
    python scripts/score_cmudict.py RUN CMUDICT/test.tsv

While it trains, what is written is scored as a translation into sounds; the last command prints the share of wrong
words.
"""

from jaxlm.data.pairs import PairFiles
from jaxlm.data.tokenizers.specs import Symbols
from jaxlm.decode.seq2seq import BeamSearch
from jaxlm.losses import SequenceToSequence
from jaxlm.models.lstm_text_to_text import LSTMTextToText
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "translation"

config = Config(
    model=LSTMTextToText(vocab=69, width=128, hidden=192, depth=2, dropout=0.1),
    data=PairFiles(
        train_file="cmudict/train.tsv",
        eval_file="cmudict/valid.tsv",
        tokenizer=Symbols(),
        batch=128,
        eval_batch=256,
        widths=(8, 10, 12, 16, 32),
    ),
    loss=SequenceToSequence(smoothing=0.1),
    decode=BeamSearch(beams=5, penalty=1.0, ratio=1.5, extra=5),
    optim=AdamW(peak_lr=3e-3, warmup=500, b2=0.98, weight_decay=0.0, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=10000, ema=0.999, eval_every=5000, save_every=250, log_every=100),
)

ablations = {
    "greedy": ("--decode.beams", "1"),
    "no smoothing": ("--loss.smoothing", "0.0"),
}
