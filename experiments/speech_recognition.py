"""Train a network to recognise speech by connectionist temporal classification, scored by word and character errors.

python experiments/speech_recognition.py configs/ctc_spoken_digits.py --data.folder SPOKEN_DIGIT [--decode.beams 8 ...]
"""

from jaxlm import steps
from jaxlm.losses import ctc
from jaxlm.metrics.speech import speech_scores
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.predictor import in_evaluation
from jaxlm.predict.sound.speech import LANGUAGE, heard, listener, recogniser
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Evaluation, Experiment, main
from jaxlm.train.compose import supervised


def of_sound(function: LossFn, config: Config) -> LossFn:
    """Let a function of features read recordings."""
    return transforms.prepare(transforms.cast(function, config.run.dtype, inputs=("features",)), config.data.prepare)


def build(config: Config, place: Placement) -> Experiment:
    """Compose CTC of spectrograms, with augmentation in training alone; a second evaluation scores what is heard."""
    data, hear = config.data, in_evaluation(of_sound(heard(config.model), config))
    language = config.decode.language_model(data.loaded().train.rows.targets, config.model.vocab)
    listen, references = listener(config, data.build_tokenizer(), language), data.references()

    def loss_of(config: Config) -> LossFn:
        return of_sound(ctc(config.model), config)

    def outputs(state, batch):
        return hear(steps.eval_variables(state.params, state.variables, state.ema), batch)

    def score(found, batch):
        rows = batch["mask"] > 0
        pairs = zip(found["log_probs"][rows], found["outputs"][rows], strict=True)
        texts = [listen.text(log_probs[:count]) for log_probs, count in pairs]
        return speech_scores(texts, [references[row] for row in batch["row"][rows]])

    speech = Evaluation(data.eval(), outputs, score, every=config.run.eval_every)
    artefacts = data.artefacts() | ({} if language is None else {LANGUAGE: language.to_json()})
    told = [*data.log_lines(), *data.too_short(config.model.outputs)]
    return supervised(
        loss_of,
        config,
        place,
        augment=data.augmented,
        evaluations={"speech": speech},
        artefacts=artefacts,
        log_lines=told,
    )


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with what is said in a recording, and when."""
    return recogniser(of_sound(heard(config.model), config), config, run)


if __name__ == "__main__":
    main(build)
