"""Words that shrink the configs of sound, and tones in the forms that they read."""

import json

import numpy as np
import soundfile

import tiny_whisper
from jaxlm.data.audio.files import write_wav
from jaxlm.data.audio.sources import DIGITS
from whole_path import SHORT

SPEECH = {
    "ctc_spoken_digits": "--model.encoder.width 16 --model.channels 2 --data.batch 16 --data.eval-batch 20 "
    "--data.widths 1600 2400",
    "ctc_new_speaker": "--model.encoder.width 16 --model.channels 2 --data.batch 16 --data.eval-batch 20 "
    "--data.widths 1600 2400",
    "ctc_digit_strings": "--model.encoder.width 16 --model.channels 2 --data.batch 8 --data.eval-batch 8 "
    "--data.strings.count 16 --data.strings.pause 0.01 0.05 --data.widths 16000",
    "conformer_librispeech": "--model.encoder.depth 1 --model.encoder.width 16 --model.encoder.heads 2 "
    "--model.encoder.kernel 5 --model.channels 2 --data.batch 16 --data.eval-batch 20 --data.widths 3200 4800 "
    "--data.train-subsets train --data.eval-subsets test --run.dtype float32",
}
TRANSCRIBED = {
    "whisper_folder": f"--model.vocab {tiny_whisper.VOCAB} --model.depth 1 --model.width 16 --model.heads 2 "
    "--model.bands 8 --model.source-context 50 --model.context 40 --data.features.bands 8 --data.widths 16000 "
    "--data.batch 8 --data.eval-batch 8 --decode.language en --decode.length 8 --decode.beams 2 --optim.peak-lr 1e-2",
}
SOUND = "--data.speech.batch 16 --data.speech.eval-batch 20 --data.speech.widths 2400 --optim.warmup 2"
VOICES = {
    "tts_spoken_digits": f"{SOUND} --model.width 8 --model.hidden 12 --model.depth 1 --model.decoder-depth 1 "
    "--model.speakers 2 --decode.steps 2 --decode.iterations 2 --decode.frames 4 --run.ema 0.5",
    "matcha_ljspeech": f"{SOUND} --model.width 8 --model.hidden 12 --model.depth 1 --model.decoder-depth 1 "
    "--model.vocab 19 --decode.steps 2 --decode.iterations 2 --decode.frames 4 --run.dtype float32 "
    "--data.speech.features.rate 8000 --data.speech.features.high 4000 --data.speech.features.window 320 "
    "--data.speech.features.hop 80 --data.speech.held-out 20",
    "vocos_spoken_digits": f"{SOUND} --model.width 8 --model.hidden 12 --model.depth 1 --run.ema 0.5",
}


def speech_words(name, tmp_path):
    """The words that shrink a config; a digit is a tone of its own pitch, and both speakers have their rate."""
    for number in range(200):
        digit, speaker, index = number % 10, ("george", "theo")[number // 10 % 2], number // 20
        rate = 8000 if speaker == "george" else 16000
        tone = 0.3 * np.sin(2 * np.pi * (300 + 150 * digit) * np.arange(rate * (12 + index) // 100) / rate)
        path = tmp_path / f"{digit}_{speaker}_{index}.wav"
        if name == "conformer_librispeech":
            path = tmp_path / ("test" if index < 5 else "train") / "1" / "2" / f"{path.stem}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            with (path.parent / "1-2.trans.txt").open("a") as file:
                file.write(f"{path.stem} {'ABCDEFGHIJ'[digit]}\n")
        soundfile.write(path, tone, rate)
    if name in SPEECH:
        return [*SPEECH[name].split(), *SHORT, "--data.folder", str(tmp_path)]
    if name == "matcha_ljspeech":
        (tmp_path / "wavs").symlink_to(tmp_path)
        texts = [f"{path.stem}|{DIGITS[int(path.stem[0])]} of them." for path in sorted(tmp_path.glob("*.wav"))]
        (tmp_path / "metadata.csv").write_text("\n".join(texts) + "\n")
    return [*VOICES[name].split(), *SHORT, "--data.speech.folder", str(tmp_path)]


def transcribed_words(name, tmp_path):
    """The words that shrink a config; what is said is how high a tone is."""
    tiny_whisper.write_tokenizer(tmp_path)
    lines = []
    for number in range(40):
        text = ("low", "high")[number % 2]
        tone = 0.3 * np.sin(2 * np.pi * (300 + 900 * (number % 2)) * np.arange(8000 + 100 * number) / 16000)
        write_wav(tmp_path / f"{number}.wav", tone, 16000)
        lines.append(json.dumps({"audio": f"{number}.wav", "text": text}))
    for file, part in (("train", lines[:32]), ("test", lines[32:])):
        (tmp_path / f"{file}.jsonl").write_text("\n".join(part))
    files = [f"--data.train-file {tmp_path}/train.jsonl --data.eval-file {tmp_path}/test.jsonl"]
    return " ".join([TRANSCRIBED[name], *SHORT, *files, f"--data.tokenizer.path {tmp_path}"]).split()
