r"""Fine-tune BERT-base on SQuAD 1.1: Devlin et al. 2019 (arXiv:1810.04805), section 4.2.

    python experiments/question_answering.py configs/bert_base_squad.py --data.folder SQUAD --init.path FOLDER \
        --data.tokenizer.path FOLDER

FOLDER holds bert-base-uncased in safetensors, SQUAD the files train-v1.1.json (87,599 questions) and dev-v1.1.json
(10,570). Two epochs of batches of 16 at 3e-5, windows of 384 tokens that overlap by 128, and answers of at most 30
tokens. Published for BERT-base without other training data: exact match 80.8 and F1 88.5 on the development set (table
2, "BERT BASE (Single)", there with batches of 32 at 5e-5 and three epochs). Score: not run, for want of an accelerator.
For SQuAD 2.0 (section 4.3), whose questions need not have an answer, add `--data.train-file train-v2.0.json
--data.eval-file dev-v2.0.json --decode.threshold 0.0`.
"""

from jaxlm.data import Pretrained
from jaxlm.data.questions import SquadFiles
from jaxlm.decode.spans import AnswerSearch
from jaxlm.models.bert_shapes import BERT_BASE
from jaxlm.models.heads import SpanClassifier
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run
from jaxlm.train.init_from import InitFrom

experiment = "question_answering"

config = Config(
    model=SpanClassifier(encoder=BERT_BASE),
    data=SquadFiles(
        folder="squad",
        train_file="train-v1.1.json",
        eval_file="dev-v1.1.json",
        stride=128,
        batch=16,
        eval_batch=64,
        widths=(128, 192, 256, 384),
        tokenizer=Pretrained("bert-base-uncased"),
    ),
    decode=AnswerSearch(longest=30),
    init=InitFrom(fresh="^head/"),
    optim=AdamW(
        peak_lr=3e-5,
        warmup=1100,
        schedule="linear",
        final_fraction=0.0,
        weight_decay=0.01,
        clip_norm=1.0,
        b2=0.999,
        eps=1e-6,
    ),
    place=PlacementSpec(),
    run=Run(steps=11000, eval_every=5500, save_every=5500, metric="answers/f1", maximize=True),
)
