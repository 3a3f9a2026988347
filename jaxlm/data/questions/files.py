"""The spec of questions from files in SQuAD's format; its batches are described in `jaxlm.data.questions.rows`."""

import dataclasses
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from jaxlm.data.model_checks import check_tokens
from jaxlm.data.protocol import summary_line
from jaxlm.data.questions.rows import QuestionRows, encode_questions
from jaxlm.data.questions.squad import Question, read_squad
from jaxlm.data.ragged import Bucketed, check_widths
from jaxlm.data.tokenizers.library import PretrainedTokenizer
from jaxlm.data.tokenizers.specs import Pretrained, WordPiece
from jaxlm.errors import BadInput

NAMED = 3  # questions in a line


@dataclass(frozen=True, eq=False)
class LoadedQuestions:
    """Both splits, tokenised."""

    train: QuestionRows
    eval: QuestionRows
    tokenizer: PretrainedTokenizer


@dataclass(frozen=True, kw_only=True)
class SquadFiles:
    """Spec: questions whose answers are stretches of a context, from files in SQuAD's format (1.1 or 2.0).

    A row is [CLS] question [SEP] context [SEP]; of a context that is too long, overlapping windows are a row each.
    Answers that are not in the context where the file says are not targets, and are counted and named. A training
    window that holds a part of an answer alone is left out.

    Attributes:
        folder: where the files are.
        train_file: for training.
        eval_file: for evaluation; not read in a cross-validation.
        folds: of a cross-validation: the articles of the training file are split into so many folds of about the same
            number of questions, and fold `fold` is evaluated on. 0: no cross-validation.
        fold: the fold that is left out of training, from 0.
        stride: tokens of the context that a window repeats of the one before, so that an answer of at most one more is
            whole in one of them.
        batch: windows in a training batch.
        eval_batch: windows in an evaluation batch; None: as in training.
        widths: T of the batches, ascending; the last one is the size of a window (see `Bucketed`).
        tokenizer: `Pretrained(folder)` or `WordPiece(size)`.
    """

    folder: str = "."
    train_file: str = "train-v1.1.json"
    eval_file: str = "dev-v1.1.json"
    folds: int = 0
    fold: int = 0
    stride: int = 128
    batch: int = 32
    eval_batch: int | None = None
    widths: tuple[int, ...] = (128, 192, 256, 384)
    tokenizer: Pretrained | WordPiece = dataclasses.field(default_factory=WordPiece)

    def load(self) -> tuple[list[Question], list[Question]]:
        """Return the questions for training and for evaluation.

        Raises:
            BadInput: a file cannot be read, or folds that cannot be.
        """
        if not self.folds and self.fold:
            raise BadInput(f"data.fold is {self.fold} and data.folds 0: set --data.folds, at least 2")
        train = read_squad(self._path(self.train_file))
        if not self.folds:
            return train, read_squad(self._path(self.eval_file))
        kept, left_out = article_fold([one.article for one in train], self.folds, self.fold)
        return [train[row] for row in kept], [train[row] for row in left_out]

    def signature(self) -> Hashable:
        """Return the sizes and times of the files."""
        paths = [self._path(name) for name in (self.train_file, self.eval_file)]
        return tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file())

    def _path(self, name: str) -> Path:
        return Path(self.folder).expanduser() / name

    def loaded(self) -> LoadedQuestions:
        """Return both splits, tokenised once a process.

        Raises:
            BadInput: the questions cannot be read, or do not fit into the rows.
        """
        check_widths(self.widths)
        if self.stride < 0:
            raise BadInput(f"data.stride is {self.stride}: give 0 or more")
        return _load(dataclasses.replace(self, batch=1, eval_batch=None, widths=self.widths[-1:]), self.signature())

    def train(self, seed: int = 0, noise: int | None = None) -> Bucketed:
        """Return the training batches."""
        return Bucketed(self.loaded().train.rows, self.batch, self.widths, seed, noise)

    def eval(self) -> Bucketed:
        """Return the evaluation batches: every window exactly once."""
        return Bucketed(self.loaded().eval.rows, self.eval_batch or self.batch, self.widths)

    def example(self) -> np.ndarray:
        """Return what a model is initialised with; int32 zeros [1, T]."""
        return np.zeros((1, self.widths[0]), np.int32)

    def build_tokenizer(self) -> PretrainedTokenizer:
        """Return the tokenizer of questions and contexts."""
        return self.loaded().tokenizer

    def artefacts(self) -> dict[str, str]:
        """Return tokenizer.json."""
        return {"tokenizer.json": self.build_tokenizer().to_json()}

    def log_lines(self) -> list[str]:
        """Return a line about each split, and one that names questions whose answers are not at their places."""
        lines = []
        for name, part in (("train", self.loaded().train), ("eval", self.loaded().eval)):
            lines.append(summary_line(name, part.counts))
            if part.misplaced:
                more = f" and {len(part.misplaced) - NAMED} more" if len(part.misplaced) > NAMED else ""
                lines.append(f"answers not at their places: {', '.join(part.misplaced[:NAMED])}{more}")
        return lines

    def throughput(self) -> tuple[int, str]:
        """Return what one training batch counts as."""
        return self.batch, "windows"

    def check(self, model: Any, repeat: int = 1) -> None:
        """Raise BadInput where the data cannot be read or do not fit a model (its encoder takes token types).

        Args:
            model: the model.
            repeat: updates in one compiled program, which needs batches of one width.
        """
        check_widths(self.widths, repeat)
        check_tokens(model, self.build_tokenizer(), self.widths[-1], "the last of data.widths")
        encoder = getattr(model, "encoder", model)
        if getattr(encoder, "types", 0) < 2:
            raise BadInput("a question and its context need a model of two token types: set model.encoder.types to 2")


def article_fold(articles: Sequence[int], folds: int, fold: int) -> tuple[np.ndarray, np.ndarray]:
    """Split questions into folds of a cross-validation by their articles, the same for every seed of a run.

    Args:
        articles: of each question the number of its article.
        folds: how many.
        fold: the one that is left out, from 0.

    Returns:
        The questions of all other folds, and those of this one; int64.

    Raises:
        BadInput: `fold` or `folds` is out of range, or there are fewer articles than folds.
    """
    from sklearn.model_selection import GroupKFold

    count = len(set(articles))
    if folds < 2 or count < folds:
        raise BadInput(f"data.folds is {folds} and there are {count} articles: give 2 to {count}, or 0 for no folds")
    if not 0 <= fold < folds:
        raise BadInput(f"data.fold is {fold} and data.folds {folds}: give a fold from 0 to {folds - 1}")
    return list(GroupKFold(folds).split(np.zeros(len(articles)), groups=articles))[fold]


@lru_cache(maxsize=4)
def _load(spec: SquadFiles, signature: Hashable) -> LoadedQuestions:
    """Return the questions of a spec, tokenised once a process."""
    del signature
    train, evaluation = spec.load()
    tokenizer = spec.tokenizer.build(chain.from_iterable((one.question, one.context) for one in train))
    if not tokenizer.frame(True).before:
        raise BadInput("the tokenizer has no token that begins a pair of texts, such as [CLS]: take that of a BERT")
    width = spec.widths[-1]
    return LoadedQuestions(
        encode_questions(tokenizer, train, width, spec.stride, train=True),
        encode_questions(tokenizer, evaluation, width, spec.stride, train=False),
        tokenizer,
    )
