"""Words that shrink the configs of recommenders, and interactions with an order in the forms that they read."""

import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from whole_path import SHORT

USERS, ITEMS = 40, 24
SIZES = "--data.batch 16 --data.eval-batch 16 --data.sampled 5"
KNOWN = f"--model.users {USERS} --model.items {ITEMS}"
LAYERS = "--model.factors 4 --model.width 4 --model.hidden 8 4"
RECOMMENDERS = {
    "mf_citeulike": f"{KNOWN} --model.width 8",
    "two_tower_citeulike": f"--model.items {ITEMS} --model.width 8",
    "neumf_citeulike": f"{KNOWN} {LAYERS}",
    "neumf_movielens": f"{KNOWN} {LAYERS} --run.metric sampled5/ndcg@10",
    "sasrec_movielens": f"--model.items {ITEMS} --model.width 8 --model.depth 1 --model.context 6",
    "sasrec_file": f"--model.items {ITEMS} --model.width 8 --model.depth 1 --model.context 6 --optim.peak-lr 1e-2",
}


def met_items() -> list[list[int]]:
    """For each user what it has met, in its order: every third item, from its own first one."""
    draw = np.random.default_rng(0)
    firsts, counts = draw.integers(0, ITEMS, USERS), draw.integers(5, 9, USERS)
    return [
        [(first + 3 * place) % ITEMS for place in range(count)] for first, count in zip(firsts, counts, strict=True)
    ]


@cache
def movielens() -> type:
    """Return the builder of a TFDS dataset of the name and form of movielens/1m-ratings; a name is registered once."""
    import tensorflow_datasets as tfds

    class Movielens(tfds.core.GeneratorBasedBuilder):
        """As TFDS has it, with the features that are read."""

        VERSION = tfds.core.Version("0.1.1")
        BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="1m-ratings")]

        def _info(self) -> tfds.core.DatasetInfo:
            features = {"user_id": tfds.features.Text(), "movie_id": tfds.features.Text(), "timestamp": np.int64}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager: object) -> dict[str, object]:
            return {"train": self._generate_examples()}

        def _generate_examples(self) -> Iterator[tuple[int, dict[str, object]]]:
            rows = [(user, item, time) for user, met in enumerate(met_items()) for time, item in enumerate(met)]
            for number, (user, item, time) in enumerate(rows):
                yield number, {"user_id": str(user), "movie_id": str(item), "timestamp": time}

    return Movielens


def write_ratings(folder: Path) -> None:
    """Prepare such a dataset with these interactions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tfds warns of what it uses itself
        builder = movielens()(config="1m-ratings", data_dir=str(folder), file_format="array_record")
        builder.download_and_prepare()


def recommender_words(name, tmp_path, monkeypatch):
    """The words that shrink a config; interactions are a few that follow a rule."""
    words = [*RECOMMENDERS[name].split(), *SHORT, *SIZES.split()]
    if name.endswith("_movielens"):
        write_ratings(tmp_path)
        monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
        return words
    if name.endswith("_citeulike"):
        path = tmp_path / "users.dat"
        path.write_text("".join(f"{len(met)} {' '.join(map(str, met))}\n" for met in met_items()))
    else:
        path = tmp_path / "interactions.csv"
        rows = [f"{user},{item},{time}\n" for user, met in enumerate(met_items()) for time, item in enumerate(met)]
        path.write_text("".join(["user,item,time\n", *rows]))
    return [*words, "--data.source.path", str(path)]
