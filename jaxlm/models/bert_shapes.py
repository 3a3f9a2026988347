"""Published sizes of BERT, with the number of parameters of the encoder and its pooler."""

from jaxlm.models.bert import BERT

# The vocabulary of bert-base-uncased; Devlin et al. 2019, section 3 (base and large; dropout of appendix A.2) and
# Turc et al. 2019, arXiv:1908.08962, table 1 (the smaller ones).
BERT_TINY = BERT(vocab=30522, depth=2, width=128, heads=2, dropout=0.1)  # 4,385,920
BERT_MINI = BERT(vocab=30522, depth=4, width=256, heads=4, dropout=0.1)  # 11,170,560
BERT_SMALL = BERT(vocab=30522, depth=4, width=512, heads=8, dropout=0.1)  # 28,763,648
BERT_MEDIUM = BERT(vocab=30522, depth=8, width=512, heads=8, dropout=0.1)  # 41,373,184
BERT_BASE = BERT(vocab=30522, depth=12, width=768, heads=12, dropout=0.1)  # 109,482,240
BERT_LARGE = BERT(vocab=30522, depth=24, width=1024, heads=16, dropout=0.1)  # 335,141,888

# The vocabulary of bert-base-cased, used for named entity recognition.
BERT_BASE_CASED = BERT_BASE.clone(vocab=28996)  # 108,310,272

# Wang et al. 2020, arXiv:2002.10957: the student of six layers, as all-MiniLM-L6-v2 has it.
MINILM_L6 = BERT(vocab=30522, depth=6, width=384, heads=12, dropout=0.1)  # 22,713,216
