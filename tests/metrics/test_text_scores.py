"""Scores of texts are sacreBLEU's over all texts at once, however they were split into batches."""

import pytest

from jaxlm.metrics import compute, merge
from jaxlm.metrics.text import CorpusScore, moses_tokens, translation_scores

sacrebleu = pytest.importorskip("sacrebleu")
ANSWERS = ["A dog runs over the green grass .", "two men stand", "the cat sat on the mat .", "children play outside"]
REFERENCES = [
    "a dog runs across the grass .",
    "two men are standing .",
    "the cat sat on the mat .",
    "kids play outside",
]


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("sizes", [(4,), (1, 3), (1, 1, 1, 1), (2, 2)])
def test_merged_scores_are_those_of_the_corpus(sizes, lower):
    parts, start = [], 0
    for size in sizes:
        parts.append(translation_scores(ANSWERS[start : start + size], REFERENCES[start : start + size], lower))
        start += size
    expected = {
        "bleu": sacrebleu.corpus_bleu(ANSWERS, [REFERENCES], lowercase=lower).score,
        "tokenized_bleu": sacrebleu.corpus_bleu(
            [moses_tokens(text) for text in ANSWERS], [[moses_tokens(text) for text in REFERENCES]], tokenize="none"
        ).score,
        "chrf": sacrebleu.metrics.CHRF(lowercase=lower).corpus_score(ANSWERS, [REFERENCES]).score,
        "ter": sacrebleu.metrics.TER().corpus_score(ANSWERS, [REFERENCES]).score,
    }
    assert compute(merge(*parts)) == pytest.approx(expected, abs=1e-12)
    assert expected["bleu"] > 0


def test_signatures_name_case_and_tokenisation():
    for score, named in {"bleu": {"case:lc", "tok:13a"}, "tokenized_bleu": {"case:lc", "tok:none"}}.items():
        signature = CorpusScore(tuple(ANSWERS), tuple(REFERENCES), score, lower=True).signature()
        assert named | {"nrefs:1", "smooth:exp"} <= set(signature.partition(";")[0].split("|"))
    assert signature.endswith("; moses_tokens of both sides")
    assert "case:mixed" in CorpusScore(tuple(ANSWERS), tuple(REFERENCES)).signature()


# What Moses' lowercase.perl | normalize-punctuation.perl -l de | tokenizer.perl -l de makes of such lines, unescaped
# (by sacremoses 0.2.0). On Multi30k's 31,014 German lines (train, val, test_2016_flickr) 13 differ: full stops after
# the numbers, letters and abbreviations of its list.
MOSES = {
    "Ein Mann läuft an einem Schild vorbei, auf dem E.S.E. Electronics steht.":
        "ein mann läuft an einem schild vorbei , auf dem e.s.e. electronics steht .",
    "Eine Frau in „Straßenkleidung“ hält einen Scheck für \"Kids' Food\".":
        "eine frau in \" straßenkleidung \" hält einen scheck für \" kids ' food \" .",
    "Zwei Jungen essen ihr McDonald's-Menü im T-Shirt.": "zwei jungen essen ihr mcdonald ' s-menü im t-shirt .",
    "Orangen, Melonen usw. eines Händlers auf 1,000 Booten": "orangen , melonen usw. eines händlers auf 1,000 booten",
    "Auf dem steht: „Come on now ... have tea.“": "auf dem steht : \" come on now ... have tea . \"",
    "Der oder die Flugbegleiter_in (links) zeigt etwas!": "der oder die flugbegleiter _ in ( links ) zeigt etwas !",
    "": "",
}  # fmt: skip


@pytest.mark.parametrize("text", MOSES)
def test_tokens_are_those_of_moses(text):
    assert moses_tokens(text) == MOSES[text]
    assert moses_tokens(MOSES[text]) == MOSES[text]
