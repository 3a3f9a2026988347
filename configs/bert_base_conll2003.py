r"""Fine-tune cased BERT-base to find the named entities of CoNLL-2003: Devlin et al. 2019 (arXiv:1810.04805), 5.3.

    python experiments/token_classification.py configs/bert_base_conll2003.py --init.path FOLDER \
        --data.tokenizer.path FOLDER

FOLDER holds bert-base-cased in safetensors. Data: TFDS conll2003 (see scripts/prepare_tfds.py), whose licence forbids
passing it on. The first piece of each word is tagged, without a CRF; three epochs of batches of 32 at 5e-5, of the
ranges in appendix A.3. Published: entity F1 of 96.4 on the development set and 92.4 on the test set (table 7), with the
document around each sentence as context, which is left out here. Score: not run, for want of the data.
"""

from jaxlm.data import Pretrained
from jaxlm.data.labelled_text.tag_sources import TfdsTags
from jaxlm.models.bert_shapes import BERT_BASE_CASED
from jaxlm.models.heads import TokenClassifier
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "token_classification"

config = Config(
    model=TokenClassifier(encoder=BERT_BASE_CASED, classes=9, dropout=0.1),
    data=TfdsTags(
        name="conll2003",
        tokenizer=Pretrained("bert-base-cased"),
        batch=32,
        eval_batch=64,
        widths=(16, 32, 64, 128, 256),
    ),
    optim=AdamW(
        peak_lr=5e-5,
        warmup=132,
        schedule="linear",
        final_fraction=0.0,
        weight_decay=0.01,
        clip_norm=1.0,
        b2=0.999,
        eps=1e-6,
    ),
    place=PlacementSpec(),
    run=Run(steps=1317, eval_every=439, save_every=439, metric="eval/entity_f1", maximize=True),
)
