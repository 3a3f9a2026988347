r"""Fine-tune BERT-base to tell the sentiment of a sentence, as Devlin et al. 2019 (arXiv:1810.04805, A.3) did for GLUE.

    python experiments/text_classification.py configs/bert_base_sst2.py --init.path FOLDER --data.tokenizer.path FOLDER

FOLDER holds bert-base-uncased in safetensors. Data: TFDS glue/sst2 (see scripts/prepare_tfds.py). Three epochs of
batches of 32, at 2e-5 after a tenth of warm-up, with a linear fall. The published accuracy is 93.5 % on the test set
(table 1), whose labels are not public. Score: not run, for want of an accelerator.
"""

from jaxlm.data import Pretrained
from jaxlm.data.labelled_text.sources import TfdsSentences
from jaxlm.losses import Classification
from jaxlm.models.bert_shapes import BERT_BASE
from jaxlm.models.heads import Classifier
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "text_classification"

config = Config(
    model=Classifier(encoder=BERT_BASE, classes=2, pool="pooler", dropout=0.1),
    data=TfdsSentences(
        name="glue/sst2",
        tokenizer=Pretrained("bert-base-uncased"),
        batch=32,
        eval_batch=109,
        widths=(16, 32, 64, 128),
    ),
    loss=Classification(),
    optim=AdamW(
        peak_lr=2e-5,
        warmup=632,
        schedule="linear",
        final_fraction=0.0,
        weight_decay=0.01,
        clip_norm=1.0,
        b2=0.999,
        eps=1e-6,
    ),
    place=PlacementSpec(),
    run=Run(steps=6315, eval_every=421, save_every=421, metric="eval/accuracy", maximize=True),
)
