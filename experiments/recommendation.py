"""Train a model to recommend items, from what users have met, and rank the items that are held out of each user.

python experiments/recommendation.py configs/mf_citeulike.py --data.source.path CITEULIKE/users.dat [...]
"""

from jaxlm.parallel import Placement
from jaxlm.predict import Predictor, forward
from jaxlm.predict.recommendations import full_ranking, recommender, sampled_ranking
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Experiment, main
from jaxlm.train.compose import supervised

BY_ROW = (("(user|item|met)_table|encoder/embed", ("fsdp", None)),)  # under a mesh tables are split by row


def scores_of(config: Config, *items: str) -> LossFn:
    """Return the function that gives the scores of the items of a batch, or of all."""
    return transforms.cast(forward(config.model, (*config.model.inputs, *items)), config.run.dtype)


def build(config: Config, place: Placement) -> Experiment:
    """Compose a loss of scores; the evaluations are rankings among all items and among sampled ones."""
    data = config.data
    config.loss.check(data)
    evaluations = {"eval": full_ranking(scores_of(config), data.eval(), data.cutoffs)}
    if data.sampled:
        scores = scores_of(config, "items")
        evaluations[f"sampled{data.sampled}"] = sampled_ranking(scores, data.eval_sampled(), data.cutoffs)

    def loss_of(config: Config) -> LossFn:
        return transforms.cast(config.loss(config.model), config.run.dtype)

    return supervised(loss_of, config, place, evaluations=evaluations, rules=BY_ROW)


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with the best items for a user."""
    return recommender(scores_of(config), config, run)


if __name__ == "__main__":
    main(build)
