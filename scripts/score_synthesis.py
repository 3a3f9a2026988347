"""Let a recogniser that heard real speech alone listen to what a voice says: the share of words that it gets wrong.

    python scripts/score_synthesis.py RUN_OF_A_VOICE RUN_OF_A_RECOGNISER [--vocoder RUN] [--count 1000] [--seed 0]

Beside it the recordings of the evaluation themselves, and these copied through their mel spectrograms (the ceiling of
what the vocoder allows). The texts are those of the evaluation, each in every voice, over and over, with other noise
each time. A WAV file of each text and voice is written to `listen/` in the folder of the voice's run.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Parse, speak, listen, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", help="a run of experiments/speech_synthesis.py")
    parser.add_argument("recogniser", help="a run of experiments/speech_recognition.py")
    parser.add_argument("--vocoder", default=None, help="a run of experiments/vocoder.py (default: Griffin-Lim)")
    parser.add_argument("--count", type=int, default=1000, help="texts to speak")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--temperature", type=float, default=None, help="of the noise (default: that of the config)")
    score(parser.parse_args())


def score(options: argparse.Namespace) -> None:
    """Print errors by kind and by voice, and write files to listen to."""
    import jaxlm
    from jaxlm.data.audio.files import write_wav
    from jaxlm.runs.directory import RunDirectory

    voice, recogniser = jaxlm.load(options.voice), jaxlm.load(options.recogniser)
    data, rate = RunDirectory.existing(options.voice).config().data, RunDirectory.existing(options.recogniser)
    rate = rate.config().data.rate
    texts, speakers = sorted(set(data.references())), data.speakers
    pairs = [(texts[n % len(texts)], speakers[n // len(texts) % len(speakers)]) for n in range(options.count)]
    chosen = {"seed": options.seed, "vocoder": options.vocoder, "temperature": options.temperature}
    answers = voice(pairs, **{name: value for name, value in chosen.items() if value is not None})
    home = Path(options.voice) / "listen"
    home.mkdir(exist_ok=True)
    for number, ((text, speaker), answer) in enumerate(zip(pairs, answers, strict=True)):
        if number < len(texts) * len(speakers):
            write_wav(home / f"{'-'.join(text.split())[:40]}-{speaker}.wav", answer["samples"], answer["rate"])
    spoken = [np.array(answer["samples"], np.float32) for answer in answers]
    real, copies, said, said_by = recordings(data, voice.predictor.with_options(vocoder=options.vocoder).postprocess)
    own = data.features.rate
    for name, sounds in (("recordings", real), ("copies of them", copies)):
        print(line(name, listen(recogniser, sounds, own, rate), said, said_by), flush=True)
    heard = listen(recogniser, spoken, own, rate)
    print(line("synthesised", heard, [text for text, _ in pairs], [name for _, name in pairs]), flush=True)


def recordings(data: Any, write: Any) -> tuple[list[np.ndarray], list[np.ndarray], list[str], list[str]]:
    """Return the recordings of the evaluation, the same through their spectrograms, what is said, and who says it."""
    rows = data.speech.loaded().eval.rows
    real = [samples / np.float32(32768) for samples in rows.samples]
    copies = []
    for samples in real:
        mel = np.asarray(data.normalised(data.features(samples[None])))[0]
        answer = write([{"mel": mel, "frames": np.int32(len(mel))}], 0)
        copies.append(np.array(answer["samples"], np.float32))
    return real, copies, [rows.texts[number] for number in rows.numbers], list(rows.speakers)


def listen(recogniser: Any, sounds: Sequence[np.ndarray], rate: int, wanted: int) -> list[str]:
    """Return what a recogniser hears."""
    from jaxlm.data.audio.files import resample

    return [answer["text"] for answer in recogniser([resample(sound, rate, wanted) for sound in sounds])]


def line(name: str, heard: Sequence[str], said: Sequence[str], voices: Sequence[str]) -> str:
    """Return a line about errors, of all and by voice."""
    wrong = np.array([one.split() != other.split() for one, other in zip(heard, said, strict=True)])
    by_voice = [f"{voice} {wrong[np.array(voices) == voice].mean():.1%}" for voice in sorted(set(voices))]
    return f"{name}: {wrong.sum()} of {len(wrong)} wrong, {wrong.mean():.2%} ({', '.join(by_voice)})"


if __name__ == "__main__":
    main()
