"""The real-time factor of a voice on this machine: seconds of computing for a second of speech.

    python scripts/bench_synthesis.py RUN_OF_A_VOICE [--vocoder RUN] [--texts 50] [--repeats 5]

Timed is all of it: texts to tokens and noise, durations, the path to the spectrogram, and the vocoder (or the
Griffin-Lim algorithm). Programs are compiled before. To hold: below 0.05. Only a quiet machine gives a result.
"""

import argparse
import os
import statistics
import time

from bench import BUSY, Others, machine, prepare_environment


def main() -> None:
    """Parse, set the environment, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", help="a run of experiments/speech_synthesis.py")
    parser.add_argument("--vocoder", default=None, help="a run of experiments/vocoder.py (default: Griffin-Lim)")
    parser.add_argument("--texts", type=int, default=50, help="texts at a time, beside one at a time")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which the median counts")
    options = parser.parse_args()
    prepare_environment()
    print(machine(len(os.sched_getaffinity(0))), flush=True)
    others = Others()
    for count in (1, options.texts):
        print(f"{count} texts at a time: real-time factor {factor(options, count):.4f}", flush=True)
    share = others.share()
    print(f"\nother processes had {share:.0%} of the cores" + (": too much for a result" if share > BUSY else ""))


def factor(options: argparse.Namespace, count: int) -> float:
    """Return seconds of computing for a second of speech: the median over turns of `count` texts."""
    import jaxlm
    from jaxlm.runs.directory import RunDirectory

    loaded, data = jaxlm.load(options.voice), RunDirectory.existing(options.voice).config().data
    texts, speakers = sorted(set(data.references())), data.speakers
    inputs = [(texts[n % len(texts)], speakers[n % len(speakers)]) for n in range(count)]
    chosen = {"vocoder": options.vocoder} if options.vocoder else {}

    def speak() -> float:
        return sum(answer["seconds"] for answer in loaded(inputs, batch=count, **chosen))

    speak()
    factors = []
    for _ in range(options.repeats):
        began = time.perf_counter()
        seconds = speak()
        factors.append((time.perf_counter() - began) / seconds)
    return statistics.median(factors)


if __name__ == "__main__":
    main()
