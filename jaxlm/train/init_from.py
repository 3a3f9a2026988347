"""Initialise a run: from its seeds, from another run's weights, or from pretrained ones."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxlm.data.tokenizers.compare import vocabulary_difference
from jaxlm.data.tokenizers.specs import load_tokenizer
from jaxlm.errors import BadInput
from jaxlm.hub import pretrained
from jaxlm.hub.pretrained import is_pretrained
from jaxlm.hub.tensors import Tensors
from jaxlm.hub.transfer import fit_to
from jaxlm.parallel import Placement
from jaxlm.runs.checkpoint import CheckpointStep
from jaxlm.runs.directory import CLASSES, TOKENIZER, RunDirectory, parse_class_names
from jaxlm.runs.settings import Seeds
from jaxlm.runs.weights import Leaves, by_path, read_leaves
from jaxlm.train.hyperparameters import set_state_hyperparameters

EMBEDDING = re.compile("(^|/)embed/embedding$")  # the vectors of tokens, in every model that has them
HEAD = "params/head/"  # the last layer of every model with `classes`; its last axis is the classes
SHOWN = 20  # names of classes in a message


@dataclass(frozen=True)
class LoadedWeights:
    """What a new run takes from elsewhere.

    Attributes:
        arrays: by path, to load into its state.
        log_lines: what a reader should know of them.
        lineage: where they come from, {"path", "step", "sha256"}, for the run's lineage; empty where all are drawn.
    """

    arrays: Leaves = field(default_factory=dict)
    log_lines: tuple[str, ...] = ()
    lineage: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InitFrom:
    """Where the parameters of a new run come from.

    Into a model with adapters the weights are loaded as its frozen base; a run with adapters gives its merged weights.

    Attributes:
        path: a run directory; a folder in Hugging Face's layout; or a .safetensors file of a ResNet in PyTorch's names.
            None initialises every parameter.
        step: the checkpoint of that run: its updates, "best" by its metric, or None for its newest. Where
            the run has an average, the average is loaded.
        fresh: a regular expression that is searched for in the paths of parameters ("head/kernel"): these are
            initialised, such as the head for other classes. All others are loaded, and must be there with the same
            shape, with none left over. None is "^head/" where the model has classes, and nothing elsewhere.
        into: the part of the model that the weights are of, such as "pictures" or "encoder": they are loaded there,
            and all others are initialised. Empty: the whole model.
    """

    path: str | None = None
    step: CheckpointStep = None
    fresh: str | None = None
    into: str = ""

    def load(self, shapes: Any, model: Any, artefacts: Mapping[str, str] | None = None) -> LoadedWeights:
        """Load the arrays of a new state; nothing without a path.

        A head that is loaded is brought into the order of the data's classes, by their names.

        Args:
            shapes: the state, as `jax.ShapeDtypeStruct`s.
            model: of the state.
            artefacts: file name -> text, what the data of the new run keep with it: the names of their classes and
                their tokenizer, where they have them.

        Raises:
            BadInput: nothing to read, a pattern that is not a regular expression, arrays that do not fit, a head for
                other classes, or an embedding of another vocabulary.
        """
        if self.path is None:
            return LoadedWeights()
        artefacts = artefacts or {}
        source = read_source(self.path, self.step)
        adapted = hasattr(model, "merged")  # then the weights that its adapters change are loaded
        inside = jax.eval_shape(model.merged, {"params": shapes.params, **shapes.variables}) if adapted else None
        wanted = by_path(shapes) if inside is None else pretrained.leaves_by_path(inside)
        taken = self._taken(source, wanted, model.base if adapted else model)
        check_tokenizer(taken, source.tokenizer, artefacts.get(TOKENIZER), self.path)
        taken, lines = match_classes(taken, source.class_names, parse_class_names(artefacts.get(CLASSES)), self.path)
        if adapted:
            taken = pretrained.leaves_by_path(model.derive(pretrained.tree_from_leaves(taken)))
        lineage = {"path": self.path, "step": self.step, "sha256": source.digest()}
        return LoadedWeights(taken, (*source.log_lines(), *lines), lineage)

    def digest(self) -> str | None:
        """Return the SHA-256 of what a new run loads, or None where it draws every parameter."""
        return None if self.path is None else read_source(self.path, self.step).digest()

    def _taken(self, source: "Source", wanted: Leaves, model: Any) -> Leaves:
        found = source.leaves
        if source.model is not None:
            if self.into:
                raise BadInput(
                    f"init.into is {self.into!r}, and {self.path} is not a run: leave init.into out, or give a run"
                )
            found = fit_to(pretrained.PretrainedModel(source.model, found), model, wanted, str(self.path))
        fresh = self._fresh(model)
        if self.into:
            found = {"/".join([path.split("/")[0], self.into, *path.split("/")[1:]]): x for path, x in found.items()}
        taken = {path: found.get(path) for path in wanted if not fresh(path)}
        if not taken:
            raise BadInput(f"init.fresh {self.fresh!r} leaves nothing to take from {self.path}: narrow it")
        for path, leaf in taken.items():
            if leaf is None:
                raise BadInput(f"{self.path} has no {path}: take the model it was made with, or add it to init.fresh")
            if leaf.shape != wanted[path].shape:
                raise BadInput(
                    f"{path} is {list(leaf.shape)} in {self.path} and {list(wanted[path].shape)} here: take the model "
                    "it was made with, or add it to init.fresh"
                )
        for path in found:
            if path not in wanted and not fresh(path):
                raise BadInput(
                    f"{self.path} has {path}, which the model here has not: take the model it was made with, or add "
                    "it to init.fresh"
                )
        return taken

    def _fresh(self, model: Any) -> Callable[[str], bool]:
        asked = self.fresh
        if asked is None:
            asked = "^head/" if hasattr(model, "classes") else ""
        try:
            pattern = re.compile(asked)
        except re.error as error:
            raise BadInput(f"init.fresh is {self.fresh!r}, which is no regular expression: {error}") from None
        into = f"{self.into}/" if self.into else ""

        def fresh(path: str) -> bool:
            name = path.partition("/")[2]
            return not name.startswith(into) or (bool(asked) and pattern.search(name) is not None)

        return fresh


class Source(NamedTuple):
    """Weights from elsewhere.

    Attributes:
        path: where they are.
        leaves: by path.
        class_names: of their head, by index; None where nothing names them.
        model: that a folder in Hugging Face's layout describes; None elsewhere.
        tokenizer: of the text that they were trained on, as `Tokenizer.to_json` wrote it; None where nothing holds one.
        passed_over: what was not read, for a reader.
    """

    path: str
    leaves: Leaves
    class_names: tuple[str, ...] | None
    model: Any = None
    tokenizer: str | None = None
    passed_over: tuple[str, ...] = ()

    def log_lines(self) -> list[str]:
        """Return lines about what was passed over, and about weights that are NaN or infinite."""
        broken = [path for path, leaf in self.leaves.items() if not np.isfinite(np.asarray(leaf, np.float32)).all()]
        line = f"{self.path} has NaN or infinite weights in {len(broken)} arrays, the first {min(broken, default='')}"
        return [*self.passed_over, *([line] if broken else [])]

    def digest(self) -> str:
        """Return the SHA-256 of the leaves and class names."""
        total = hashlib.sha256(repr(self.class_names).encode())
        for path, leaf in sorted(self.leaves.items()):
            values = np.ascontiguousarray(jax.device_get(leaf))
            total.update(f"{path} {values.shape} {values.dtype}\n".encode())
            total.update(values.view(np.uint8).data if values.size else b"")
        return total.hexdigest()


def read_source(path: str, step: CheckpointStep = None) -> Source:
    """Read weights and the names of their classes; see `read_leaves`."""
    if is_pretrained(path):
        model, leaves = pretrained.load_pretrained(path)
        return Source(path, leaves, pretrained.head_names(path), model, None, Tensors(path).log_lines)
    leaves, run = read_leaves(path, step), RunDirectory(path)
    tokenizer = run.artefact(TOKENIZER) if (run.path / TOKENIZER).is_file() else None
    return Source(path, leaves, run.class_names(), tokenizer=tokenizer)


def check_tokenizer(leaves: Leaves, theirs: str | None, ours: str | None, path: str) -> None:
    """Check that an embedding of tokens among loaded leaves was trained with the vocabulary of the data.

    Args:
        leaves: by path.
        theirs: the tokenizer of the weights, as `Tokenizer.to_json` wrote it; None where nothing holds one.
        ours: the same of the data; None where they have none.
        path: of the weights, for messages.

    Raises:
        BadInput: an id is another piece of text in each.
    """
    if theirs is None or ours is None or theirs == ours or not any(EMBEDDING.search(name) for name in leaves):
        return
    difference = vocabulary_difference(load_tokenizer(theirs), load_tokenizer(ours))
    if difference is not None:
        raise BadInput(
            f"{path} was trained with another tokenizer, {difference}: give the data its {TOKENIZER} (BPE and "
            "Pretrained have a path for it), or initialise a new embedding with --init.fresh '(^|/)embed/'"
        )


def match_classes(
    leaves: Leaves, theirs: Sequence[str] | None, ours: Sequence[str] | None, path: str
) -> tuple[Leaves, list[str]]:
    """Bring the head among loaded leaves into the order of the data's classes.

    Args:
        leaves: by path.
        theirs: the classes that the head was made for, by index; None where nothing names them.
        ours: the classes of the data, by index; None where they have none.
        path: of the weights, for messages.

    Returns:
        The leaves, and lines that say what was done.

    Raises:
        BadInput: the head was made for other classes.
    """
    head = {name: leaf for name, leaf in leaves.items() if name.startswith(HEAD)}
    if ours is None or not head or theirs == tuple(ours):
        return leaves, []
    if theirs is None:
        return leaves, [f"the head of {path} names no classes: its outputs are taken in the order {_listed(ours)}"]
    if sorted(theirs) != sorted(ours):
        raise BadInput(
            f"the head of {path} is for the classes {_listed(theirs)}, and the data has {_listed(ours)}: correct the "
            "names on one side, or initialise a new head with --init.fresh '^head/'"
        )
    order = [theirs.index(name) for name in ours]
    line = f"the head of {path} has its classes in the order {_listed(theirs)}: brought into that of the data"
    return {**leaves, **{name: np.asarray(leaf)[..., order] for name, leaf in head.items()}}, [line]


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)})" if len(names) > SHOWN else ""
    return f"({', '.join(names[:SHOWN])}{more})"


def initialise(experiment: Any, place: Placement, seeds: Seeds) -> Any:
    """Return the state of an experiment before its first update: with its own seeds and hyperparameters.

    Args:
        experiment: what `build` returned.
        place: where the state lives.
        seeds: `init` draws the parameters, `noise` gives the key of dropout and augmentation.
    """
    state = place.init(experiment.init, jax.random.key(seeds.init))
    if seeds.noise != seeds.init:
        state = with_keys_of(state, experiment.init, place, seeds.noise)
    return set_state_hyperparameters(state, experiment.hyperparameters)


def with_keys_of(state: Any, init: Callable[[jax.Array], Any], place: Placement, seed: int) -> Any:
    """Return a state with the PRNG keys that `init` gives at another seed; all else is unchanged."""

    def is_key(leaf: jax.Array) -> bool:
        return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)

    def keys(key: jax.Array) -> list[jax.Array]:
        return [leaf for leaf in jax.tree.leaves(init(key)) if is_key(leaf)]

    drawn = iter(place.init(keys, jax.random.key(seed)))
    return jax.tree.map(lambda leaf: next(drawn) if is_key(leaf) else leaf, state)
