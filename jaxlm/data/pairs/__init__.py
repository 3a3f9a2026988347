"""Pairs of texts, of which the second is written from the first: translation, summarisation, span corruption."""

from jaxlm.data.pairs.corrupted import SourceText, SpanCorruption
from jaxlm.data.pairs.pairs import Pairs
from jaxlm.data.pairs.rows import TextPairs
from jaxlm.data.pairs.sources import PairFiles, ParallelText, TfdsPairs

__all__ = ["PairFiles", "Pairs", "ParallelText", "SourceText", "SpanCorruption", "TextPairs", "TfdsPairs"]
