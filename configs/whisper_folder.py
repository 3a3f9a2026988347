r"""Whisper from a folder of transformers: to transcribe with, or to fine-tune on recordings of one's own.

    jaxlm import FOLDER --config whisper_folder --experiment speech_to_text --directory RUN
    jaxlm predict RUN speech.wav

FOLDER is that of a `WhisperForConditionalGeneration` with its tokenizer, such as openai/whisper-tiny. The import takes
shape, tokenizer and what is not to be written from it, and writes RUN/fine_tune.py, which trains on a manifest in the
place of this file:

    python experiments/speech_to_text.py configs/whisper_folder.py --data.train-file TRAIN.jsonl \
        --data.eval-file TEST.jsonl --decode.language en --run.dtype bfloat16

Written for one accelerator; the small shapes transcribe on a CPU too.
"""

from jaxlm.data.audio import SpokenText
from jaxlm.data.tokenizers.specs import Pretrained
from jaxlm.decode.speech.transcription import Transcription
from jaxlm.losses import SequenceToSequence
from jaxlm.models.whisper import WHISPER_TINY
from jaxlm.optim import AdamW
from jaxlm.parallel import PlacementSpec
from jaxlm.train import Config, Run

experiment = "speech_to_text"

config = Config(
    model=WHISPER_TINY,
    data=SpokenText(tokenizer=Pretrained("whisper-tiny"), batch=16, eval_batch=16),
    loss=SequenceToSequence(smoothing=0.0),
    decode=Transcription(beams=5),
    optim=AdamW(peak_lr=1e-5, warmup=100, b2=0.98, weight_decay=0.0, clip_norm=1.0),
    place=PlacementSpec(),
    run=Run(steps=1000, eval_every=200, save_every=200, log_every=20, metric="speech/wer"),
)

ablations = {
    "greedy": ("--decode.beams", "1"),
    "encoder frozen": ("--optim.freeze", "^(encoder|conv_)"),
}
