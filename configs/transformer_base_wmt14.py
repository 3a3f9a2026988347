"""The base transformer of Vaswani et al. 2017 (arXiv:1706.03762) from English to German: an accelerator's job.

    python experiments/translation.py configs/transformer_base_wmt14.py --data.folder WMT14
    jaxlm average RUN NEW --last 5

WMT14 holds 4.5 million pairs of lines as train.en and train.de, newstest2013 as valid.en and valid.de; test with
`--data.eval-source test.en --data.eval-target test.de`, newstest2014. An update has places for
25,600 tokens of each side (section 5.1); rates, smoothing and search are those of sections 5.3, 5.4 and 6.1, which
averages the last five checkpoints. Published: BLEU 27.3 on newstest2014 (table 2). Score: not run, for want of an
accelerator.
"""

from jaxlm.data.pairs import ParallelText
from jaxlm.data.tokenizers.specs import Subwords
from jaxlm.decode.seq2seq import BeamSearch
from jaxlm.losses import SequenceToSequence
from jaxlm.models.transformer import TRANSFORMER_BASE
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "translation"

config = Config(
    model=TRANSFORMER_BASE,
    data=ParallelText(
        folder="wmt14",
        eval_source="valid.en",
        eval_target="valid.de",
        tokenizer=Subwords(size=37000),
        batch=64,
        tokens=25600,
        eval_batch=128,
        widths=(16, 24, 32, 48, 64, 96, 128),
    ),
    loss=SequenceToSequence(smoothing=0.1),
    decode=BeamSearch(beams=4, penalty=0.6, ratio=1.0, extra=50),
    optim=AdamW(
        peak_lr=7e-4,  # 512 ** -0.5 * 4000 ** -0.5
        warmup=4000,
        schedule="rsqrt",
        final_fraction=0.0,
        b2=0.98,
        eps=1e-9,
        weight_decay=0.0,
        clip_norm=1.0,
    ),
    place=PlacementSpec("mesh"),
    run=Run(
        steps=100000,
        dtype="bfloat16",
        eval_every=10000,
        save_every=1500,
        keep_last=5,
        log_every=100,
        metric="translation/bleu",
    ),
)
