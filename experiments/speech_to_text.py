"""Fine-tune a model that writes what is said in windows of sound, such as Whisper, scored by word and character errors.

jaxlm import FOLDER --config whisper_folder --experiment speech_to_text
python experiments/speech_to_text.py configs/whisper_folder.py --data.train-file TRAIN.jsonl --data.eval-file TEST.jsonl
"""

from jaxlm import steps
from jaxlm.data import load_tokenizer
from jaxlm.data.audio.windowed import with_prompt
from jaxlm.errors import BadInput
from jaxlm.metrics.speech import speech_scores
from jaxlm.parallel import Placement
from jaxlm.predict import Predictor
from jaxlm.predict.predictor import in_evaluation
from jaxlm.predict.sound.transcripts import WriteTranscript, transcribed, transcriber
from jaxlm.runs.directory import RunDirectory
from jaxlm.steps import LossFn, transforms
from jaxlm.train import Config, Evaluation, Experiment, main
from jaxlm.train.compose import supervised


def of_sound(function: LossFn, config: Config) -> LossFn:
    """Let a function of features read recordings."""
    return transforms.prepare(transforms.cast(function, config.run.dtype, inputs=("features",)), config.data.prepare)


def build(config: Config, place: Placement) -> Experiment:
    """Compose cross entropy of the tokens of texts, given the sound; a second evaluation scores what is written."""
    data, tokenizer = config.data, config.data.build_tokenizer()
    prompt, references = config.decode.prompt(config.model, tokenizer), data.references()
    if prompt.languages and data.train_file is not None:
        raise BadInput("decode.language is None: set it to the language of the recordings, as --decode.language en")
    write = in_evaluation(of_sound(transcribed(config.model, config.decode, prompt, align=False), config))
    transcript = WriteTranscript(tokenizer, data.rate, data.widths[-1], 2 * data.features.hop)

    def loss_of(config: Config) -> LossFn:
        loss = config.loss(config.model, prompt.tokens[0])
        loss = transforms.prepare(loss, lambda batch: with_prompt(batch, prompt.tokens, prompt.end))
        return of_sound(loss, config)

    def outputs(state, batch):
        return write(steps.eval_variables(state.params, state.variables, state.ema), batch)

    def score(found, batch):
        rows = batch["mask"] > 0
        pairs = zip(found["tokens"][rows], found["lengths"][rows], strict=True)
        texts = [transcript.text({"tokens": tokens, "lengths": length}) for tokens, length in pairs]
        return speech_scores(texts, [references[row].strip() for row in batch["row"][rows]])

    speech = Evaluation(data.eval(), outputs, score, every=config.run.eval_every)
    return supervised(loss_of, config, place, augment=data.augmented, evaluations={"speech": speech})


def predictor(config: Config, run: RunDirectory) -> Predictor:
    """Answer with what is said in a recording, and when."""
    tokenizer = load_tokenizer(run.artefact("tokenizer.json"))
    write = transcribed(config.model, config.decode, config.decode.prompt(config.model, tokenizer), align=True)
    return transcriber(of_sound(write, config), config.data, tokenizer)


if __name__ == "__main__":
    main(build)
