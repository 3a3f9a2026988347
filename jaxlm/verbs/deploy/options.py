"""The options of the verbs that give a run's model to others."""

import argparse
from typing import Any

from jaxlm.verbs.options import RUN, STEP, step


def pattern(text: str) -> tuple[int, int]:
    """Parse the value of --nm, as 2:4."""
    keep, colon, group = text.partition(":")
    if not colon or not keep.isdecimal() or not group.isdecimal() or not 0 < int(keep) < int(group):
        raise argparse.ArgumentTypeError(f"{text!r}: give N:M with N below M, as 2:4")
    return int(keep), int(group)


def add_deploy(verbs: Any) -> None:
    """Add the verbs that give a run's model to others."""
    _export(verbs)
    _compress(verbs)
    _serve(verbs)
    _feedback(verbs)
    _monitor(verbs)


def _export(verbs: Any) -> None:
    export = verbs.add_parser("export", help="write a run's model in a format that other programs read")
    export.add_argument("run", metavar="RUN", help=RUN)
    export.add_argument("out", metavar="DIR", help="a new folder")
    export.add_argument(
        "--to",
        choices=("artefact", "embeddings", "hf", "onnx", "peft"),
        default="artefact",
        help="artefact (default): programs, weights and tokenizer, which jaxlm.load and predict open without the "
        "experiment's code; embeddings: an artefact of its text encoder, or of that of a folder in Hugging Face's "
        "layout, which answers with vectors; hf: as transformers loads it, in safetensors; onnx: what the model "
        "computes, with probes; peft: the adapters alone, as PEFT loads them",
    )
    export.add_argument(
        "--probe",
        action="append",
        default=[],
        metavar="INPUT",
        help="of an artefact: an input, as a text, JSON or a file, to keep with its answer; again for another "
        "(default: some that are made up)",
    )
    export.add_argument(
        "--expected",
        metavar="FILE",
        help="of an artefact: inputs as they are expected, such as prompts, a line each (or a .jsonl or .csv of one "
        "column), with which `jaxlm monitor` compares later ones (default: those of the evaluation)",
    )
    export.add_argument("--step", type=step, default=None, help=STEP)


def _compress(verbs: Any) -> None:
    compress = verbs.add_parser("compress", help="make a smaller model of a run, and measure both on the same data")
    compress.add_argument("run", metavar="RUN", help=RUN)
    compress.add_argument(
        "out", metavar="DIR", help="a new folder: an artefact, or with --prune, --nm and --distill a run"
    )
    how = compress.add_mutually_exclusive_group(required=True)
    for bits in (8, 4):
        text = f"weights in {bits} bits with scales; computation stays in float32"
        how.add_argument(f"--int{bits}", dest="bits", action="store_const", const=bits, help=text)
    how.add_argument(
        "--int8-static",
        type=int,
        default=None,
        metavar="BATCHES",
        help="weights and inputs of dense layers and convolutions in 8 bits, summed in integers; the range of the "
        "inputs is that of so many training batches",
    )
    how.add_argument(
        "--prune", type=float, default=None, metavar="SHARE", help="set the smallest of each kernel to zero"
    )
    how.add_argument(
        "--nm", type=pattern, default=None, metavar="N:M", help="keep the N largest of each M neighbours, as 2:4"
    )
    how.add_argument(
        "--distill",
        default=None,
        metavar="CONFIG",
        help="train a config, with overrides as --run.steps 500, that learns the probabilities of the run's model too",
    )
    compress.add_argument(
        "--to",
        choices=("artefact", "onnx"),
        default="artefact",
        help="of --int8 and --int4: artefact (default), or onnx: what the model computes, with its integer weights",
    )
    compress.add_argument("--temperature", type=float, default=4.0, metavar="T", help="of --distill (default 4)")
    compress.add_argument("--weight", type=float, default=0.5, help="share of the teacher in --distill (default 0.5)")
    compress.add_argument("--step", type=step, default=None, help=STEP)


def _serve(verbs: Any) -> None:
    serve = verbs.add_parser("serve", help="answer over HTTP with runs and artefacts, and show a page to try them")
    serve.add_argument("models", metavar="MODEL", nargs="+", help="a run directory or the folder of an artefact")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine alone)")
    serve.add_argument("--port", type=int, default=8000, help="0 is any free one (default 8000)")
    serve.add_argument(
        "--tokens", default=None, metavar="FILE", help="tokens that may ask, one on each line; also JAXLM_TOKENS"
    )
    serve.add_argument("--open", action="store_true", help="let everybody ask who reaches --host")
    serve.add_argument("--batch", type=int, default=None, metavar="N", help="rows computed together at most")
    serve.add_argument(
        "--batch-invariant",
        action="store_true",
        help="answers that never depend on who shares a batch, and equal those of the evaluation bit for bit; slower",
    )
    serve.add_argument(
        "--wait-ms", type=float, default=0.0, metavar="MS", help="wait for others while the device is free (default 0)"
    )
    serve.add_argument("--slots", type=int, default=16, help="texts that are written together (default 16)")
    serve.add_argument("--queue", type=int, default=256, metavar="ROWS", help="that may wait (default 256)")
    serve.add_argument(
        "--feedback",
        default=None,
        metavar="DB",
        help="keep feedback in this file (SQLite), or postgresql://USER@HOST/NAME",
    )
    serve.add_argument(
        "--shadow", default=None, metavar="MODEL", help="ask this one the same, tell nobody, and count what agrees"
    )
    serve.add_argument("--canary", default=None, metavar="MODEL", help="have this one answer a --share of the requests")
    serve.add_argument("--share", type=float, default=None, help="of the requests that --canary answers (default 0.1)")
    serve.add_argument("--keep-predictions", action="store_true", help="keep inputs and answers there, too")
    serve.add_argument("--keep-days", type=float, default=30.0, metavar="D", help="of predictions (default 30)")
    serve.add_argument("--requests", type=int, default=64, help="that may be under way (default 64)")
    serve.add_argument("--max-body", type=int, default=16_000_000, metavar="BYTES", help="of a request (default 16 MB)")
    serve.add_argument("--timeout", type=float, default=60.0, metavar="S", help="of a request (default 60)")


def _feedback(verbs: Any) -> None:
    feedback = verbs.add_parser(
        "feedback", help="make a training set of a service's feedback, or compare two models on it"
    )
    feedback.add_argument("db", metavar="DB", help="its file, or postgresql://USER@HOST/NAME")
    what = feedback.add_mutually_exclusive_group(required=True)
    what.add_argument("--to", metavar="DIR", help="a new folder for the data set")
    what.add_argument(
        "--compare",
        nargs=2,
        metavar=("OLD", "NEW"),
        help="two models on the inputs that have a label, by a paired test",
    )
    feedback.add_argument(
        "--last", type=int, default=None, metavar="N", help="of --compare: newest labels alone (default: all)"
    )
    feedback.add_argument("--model", default=None, metavar="NAME", help="of one model (default: all)")


def _monitor(verbs: Any) -> None:
    monitor = verbs.add_parser("monitor", help="compare what a service is asked and answers with its model's export")
    monitor.add_argument("source", metavar="SOURCE", help="http://HOST:PORT of a service, or its --feedback database")
    monitor.add_argument(
        "--artefact", default=None, metavar="DIR", help="with a database: whose inputs and answers are compared with"
    )
    monitor.add_argument("--model", default=None, metavar="NAME", help="one model (default: all)")
    monitor.add_argument("--window", type=int, default=1000, metavar="N", help="newest predictions of a database")
    monitor.add_argument("--json", action="store_true", help="print JSON")
