"""Find experiments and configs by name or path, without executing them."""

import ast
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jaxlm
from jaxlm.errors import BadInput

FileKind = Literal["experiment", "config"]


@dataclass(frozen=True)
class FileSummary:
    """An experiment or config file: its path, the first line of its docstring, and the experiment that it names."""

    path: Path
    summary: str
    experiment: str | None


def find_file(kind: FileKind, name: str) -> Path:
    """Return the file of an experiment or config.

    Args:
        kind: what is looked for.
        name: a path, with or without `.py`; or the name of a file in the folder `experiments` or `configs` of the
            working directory, or of those that come with jaxlm.

    Raises:
        BadInput: there is no such file; the message has the nearest names.
    """
    file = f"{name.removesuffix('.py')}.py"
    places = [] if name.endswith(".py") else folders(kind)
    for path in (Path(file), *(folder / file for folder in places)):
        if path.is_file():
            return path
    beside = Path(file).parent.glob(f"*{'_config' if kind == 'config' else ''}.py")
    known = {path.stem for path in beside} | {path.stem for folder in folders(kind) for path in folder.glob("*.py")}
    near = difflib.get_close_matches(Path(file).stem, known, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]}?" if near else f"`jaxlm list` names the {kind}s"
    raise BadInput(f"there is no {kind} file {name}: {meant}")


def find_both(names: list[str]) -> tuple[Path, Path]:
    """Return the experiment and the config file of `[EXPERIMENT] CONFIG`.

    Raises:
        BadInput: a file that is not there, a config without an experiment, or a config of another experiment.
    """
    config = find_file("config", names[-1])
    if len(names) > 1:
        experiment = find_file("experiment", names[0])
        check_fits(experiment, config)
        return experiment, config
    named = read(config).experiment
    if named is None:
        raise BadInput(f'{config} does not name its experiment: give both, or write `experiment = "NAME"` in it')
    beside = config.with_name(f"{named}.py")
    return beside if beside.is_file() else find_file("experiment", named), config


def check_fits(experiment: Path, config: Path) -> None:
    """Raise BadInput for a config that names another experiment than the one it is given to.

    An experiment file of the user's own takes any config: a changed copy of an experiment has a new name.
    """
    named = read(config).experiment
    others = {path.stem for path in folders("experiment")[-1].glob("*.py")}
    if named is not None and named != experiment.stem and experiment.stem in others:
        name = config.stem if config.parent in folders("config") else config
        raise BadInput(
            f"{config.name} is a config of {named}, not of {experiment.stem}: use `jaxlm train {named} {name}`"
        )


def folders(kind: FileKind) -> list[Path]:
    """Return the folders with named experiments or configs: that of the working directory and that of jaxlm."""
    package = Path(jaxlm.__file__).parent
    shipped = next(folder for folder in (package / f"{kind}s", package.parent / f"{kind}s") if folder.is_dir())
    here = Path(f"{kind}s")
    return [here, shipped] if here.is_dir() and here.resolve() != shipped.resolve() else [shipped]


def read(path: Path) -> FileSummary:
    """Read what a file says about itself. Raises BadInput where it is not Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise BadInput(f"{path} line {getattr(error, 'lineno', 0)}: {error.args[0]}") from None
    assigned = {
        getattr(target, "id", ""): statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
    }
    named = assigned.get("experiment")
    summary = (ast.get_docstring(tree) or "").partition("\n")[0]
    return FileSummary(path, summary, named if isinstance(named, str) else None)
