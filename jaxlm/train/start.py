"""What a run starts from: weights that are there (another run's, or pretrained ones), and a noise of its own."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlm.errors import BadInput
from jaxlm.hub import pretrained
from jaxlm.hub.placing import placed
from jaxlm.hub.pretrained import is_pretrained
from jaxlm.hub.tensors import refuse_pickle
from jaxlm.parallel import Placement
from jaxlm.steps import evaluated

if TYPE_CHECKING:
    from jaxlm.train.run_directory import RunDirectory

Leaves = dict[str, Any]  # "params/..." and "batch_stats/..." -> array


@dataclass(frozen=True)
class Start:
    """Spec: where the parameters of a new run come from.

    path: a run directory; a folder in Hugging Face's layout; or a .safetensors file of a ResNet in PyTorch's names.
      None draws all anew.
    step: the checkpoint of that run; None is its newest. Where the run kept an average, the average is taken.
    fresh: a regular expression, searched for in the paths of parameters ("head/kernel"): these are drawn anew, such as
      the head for other classes. All others are taken, and must be there in the same shape, and no more of them.
      None is "^head/" where the model has classes, and else nothing.
    Into a model with adapters the weights are taken for its frozen base, and a run of one gives its merged weights.
    """

    path: str | None = None
    step: int | None = None
    fresh: str | None = None

    def leaves(self, shapes: Any, model: Any) -> Leaves:
        """What is taken over into a state of these shapes, which is of this model; empty without a path.

        Raises:
            BadInput: nothing to read, a pattern that is no regular expression, or leaves that do not fit.
        """
        if self.path is None:
            return {}
        if not hasattr(model, "merged"):
            return self._taken(by_path(shapes), model)
        inside = jax.eval_shape(model.merged, {"params": shapes.params, **shapes.variables})
        taken = self._taken(pretrained.by_path(inside), model.base)  # what the adapters of `model` stand on
        return pretrained.by_path(model.derive(pretrained.nested(taken)))

    def _taken(self, wanted: Leaves, model: Any) -> Leaves:
        found = self._found(model, wanted)
        fresh = self._fresh(model)
        taken = {path: found.get(path) for path in wanted if not fresh(path)}
        if not taken:
            raise BadInput(f"start.fresh {self.fresh!r} leaves nothing to take from {self.path}: narrow it")
        for path, leaf in taken.items():
            if leaf is None:
                raise BadInput(f"{self.path} has no {path}: take the model it was made with, or add it to start.fresh")
            if leaf.shape != wanted[path].shape:
                raise BadInput(
                    f"{path} is {list(leaf.shape)} in {self.path} and {list(wanted[path].shape)} here: take the model "
                    "it was made with, or add it to start.fresh"
                )
        for path in found:
            if path not in wanted and not fresh(path):
                raise BadInput(
                    f"{self.path} has {path}, which the model here has not: take the model it was made with, or add "
                    "it to start.fresh"
                )
        return taken

    def _found(self, model: Any, wanted: Leaves) -> Leaves:
        """What lies at the path, by the paths of the model."""
        path = str(self.path)
        if is_pretrained(path):
            return placed(pretrained.read(path), model, wanted, path)
        return read_leaves(path, self.step)

    def _fresh(self, model: Any) -> Callable[[str], bool]:
        asked = self.fresh
        if asked is None:
            asked = "^head/" if hasattr(model, "classes") else ""
        try:
            pattern = re.compile(asked)
        except re.error as error:
            raise BadInput(f"start.fresh is {self.fresh!r}, which is no regular expression: {error}") from None
        return lambda path: bool(asked) and pattern.search(path.partition("/")[2]) is not None


def read_leaves(path: str, step: int | None) -> Leaves:
    """The parameters and other collections of a run, a folder or a file, by path; adapters are merged."""
    if is_pretrained(path):
        return pretrained.read(path).leaves
    if Path(path).suffix == ".safetensors":
        from jaxlm.hub.torchvision import read_resnet

        return read_resnet(path)
    if not Path(path).is_dir():
        refuse_pickle(Path(path))
    from jaxlm.train.run_directory import RunDirectory

    home = RunDirectory.existing(path)
    variables = read_run(home, step)
    return pretrained.by_path(home.config().model.merged(variables) if "base" in variables else variables)


def read_run(home: "RunDirectory", step: int | None) -> dict[str, Any]:
    """What an evaluation of a run's checkpoint applies, {"params": ..., other collections}."""
    from jaxlm.train.checkpoint import Checkpoints

    checkpoints = Checkpoints(home.checkpoints)
    chosen = checkpoints.newest_whole() if step is None else step
    if chosen is None or chosen not in checkpoints.steps():
        raise BadInput(f"{home.path} has no checkpoint{'' if step is None else f' at update {step}'} to start from")
    state = checkpoints.restore_raw(chosen)
    return evaluated(state["params"], state.get("variables"), state.get("ema"))


def by_path(state: Any) -> Leaves:
    """The parameters and other collections of a state, by path."""
    return pretrained.by_path({"params": state.params, **state.variables})


def take_over(state: Any, leaves: Leaves) -> Any:
    """A state with these leaves in the place of its own, in its own dtypes and layout; the average starts at them."""

    def one(path: Any, old: Any) -> Any:
        new = leaves.get(jax.tree_util.keystr(path, simple=True, separator="/"))
        return old if new is None else jax.device_put(np.asarray(new).astype(old.dtype), old.sharding)

    replaced = jax.tree_util.tree_map_with_path(one, {"params": state.params, **state.variables})
    ema = None if state.ema is None else jax.tree.map(jnp.copy, replaced)
    return state.replace(params=replaced.pop("params"), variables=replaced, ema=ema)


def with_noise(state: Any, init: Callable[[jax.Array], Any], place: Placement, seed: int) -> Any:
    """A state with the PRNG keys that `init` gives at another seed, and all else its own."""

    def is_key(leaf: jax.Array) -> bool:
        return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)

    def keys(key: jax.Array) -> list[jax.Array]:
        return [leaf for leaf in jax.tree.leaves(init(key)) if is_key(leaf)]

    drawn = iter(place.init(keys, jax.random.key(seed)))
    return jax.tree.map(lambda leaf: next(drawn) if is_key(leaf) else leaf, state)
