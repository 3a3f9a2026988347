"""`jaxlm sample` of a run that makes pictures, as a sheet of them in PNG, and of an agent, as an episode in GIF."""

import argparse
import re
from pathlib import Path

from jaxlm.errors import BadInput
from jaxlm.runs.directory import RunDirectory

PICTURE_OPTIONS = ("count", "guidance", "steps", "output")
MOST = 1024  # pictures of a sheet


def is_painter(run: str) -> bool:
    """Return whether a run makes pictures of texts."""
    return (Path(run).expanduser() / "pictures.json").is_file()


def sample_pictures(words: argparse.Namespace) -> int:
    """Write a PNG with pictures of each prompt, or without a prompt, and print its path.

    Raises:
        BadInput: no such run, or a prompt, number or file that cannot be.
    """
    from jaxlm.data.images.sheet import write_png
    from jaxlm.predict.load import load_run
    from jaxlm.predict.vision.pictures import picture_sheet

    count = 16 if words.count is None else words.count
    prompts = list(dict.fromkeys(words.prompt or [""]))
    if not 1 <= count * len(prompts) <= MOST:
        raise BadInput(f"--count is {count} for {len(prompts)} prompts: make 1 to {MOST:,} pictures at a time")
    if words.output is not None and Path(words.output).suffix.lower() != ".png":
        raise BadInput(f"--output is {words.output}: give a file that ends in .png")
    loaded = load_run(words.run, words.step)
    chosen = {name: getattr(words, name) for name in ("guidance", "steps", "seed")}
    predictor = loaded.predictor.with_options(**{name: x for name, x in chosen.items() if x is not None})
    sheet = picture_sheet(predictor, loaded.variables, prompts, count)
    if words.output is None:
        name = re.sub(r"[^a-z0-9]+", "-", " ".join(prompts).lower()).strip("-")[:60] or "any"
        path = Path(words.run).expanduser() / "samples" / f"{name}-seed-{words.seed}.png"
    else:
        path = Path(words.output).expanduser()
    write_png(path, sheet)
    print(f"{count * len(prompts)} pictures of {', '.join(map(repr, prompts))}: {path}")
    return 0


def is_agent(run: str) -> bool:
    """Return whether a run is of an agent that acts in an environment."""
    here = (Path(run).expanduser() / "config.json").is_file()
    return here and hasattr(RunDirectory.existing(run).config().data, "environment")


def sample_episode(words: argparse.Namespace) -> int:
    """Write a GIF of one episode with the likeliest actions, and print its path.

    Raises:
        BadInput: no such run, or a file that cannot be written.
    """
    from jaxlm.data.images.sheet import write_png
    from jaxlm.predict.agents.episodes import episode_gif, play_episode
    from jaxlm.predict.load import load_run

    if words.output is not None and Path(words.output).suffix.lower() != ".gif":
        raise BadInput(f"--output is {words.output}: give a file that ends in .gif")
    environment, loaded = RunDirectory.existing(words.run).config().data.environment, load_run(words.run, words.step)
    episode = play_episode(environment, loaded.predictor, loaded.variables, words.seed)
    if words.output is None:
        path = Path(words.run).expanduser() / "samples" / f"episode-seed-{words.seed}.gif"
    else:
        path = Path(words.output).expanduser()
    write_png(path, episode_gif(environment, episode))
    end = "" if episode.finished else ", not finished"
    print(f"an episode of {len(episode.rewards)} steps, return {episode.rewards.sum():.4g}{end}: {path}")
    return 0
