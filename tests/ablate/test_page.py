"""The page of an ablation: a function of the records, whole, valid, and in need of no other file."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
from ablations import DIVERGED, SEEDS, command, jaxlm, no_training, records
from pages import ARMS, METRIC, Reader, drawings, made_up
from pages import SEEDS as NUMBERS
from pages import record as made

from jaxlm.ablate.arms import Arm, parse
from jaxlm.ablate.cell import cell_name, settings
from jaxlm.ablate.report.formats import FORMATS, printable
from jaxlm.ablate.report.html import page
from jaxlm.ablate.report.table import ablation_table
from jaxlm.runs.serialise import digest
from jaxlm.train.config import load_config
from whole_path import ROOT

SVG = "{http://www.w3.org/2000/svg}"
WORDS = ("python", "my experiment.py", "config.py", "--run.steps", "12")


@pytest.fixture(scope="module")
def whole():
    return page(*made_up(), WORDS)


def words_of(text):
    return " ".join(" ".join(Reader(text).text).split())


def test_the_same_records_in_another_order_give_the_same_bytes(whole):
    table, found = made_up()
    again = json.loads(json.dumps(table)), dict(reversed(list(found.items())))
    assert page(*again, WORDS) == whole
    for record in found.values():
        record["parts"] = dict(reversed(list(record["parts"].items())))
    assert page(table, found, WORDS) == whole
    assert whole.isascii()


@pytest.mark.parametrize("seed", ["1", "2"])
def test_every_process_writes_the_same_bytes(whole, seed, tmp_path):
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: path\n")
    code = "from pages import made_up; from jaxlm.ablate.report.html import page\n"
    code += f"print(page(*made_up(), {WORDS}), end='')"
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    env = {**os.environ, **paths, "PYTHONHASHSEED": seed, "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == whole


def test_the_page_is_valid_and_loads_nothing(whole):
    read = Reader(whole)
    for name in ("src", "srcset", "data", "action"):
        assert name not in read.attributes
    assert not {"link", "img", "iframe", "object"} & set(read.tags)
    links = read.attributes["href"] + read.attributes["xlink:href"]
    assert not [link for link in links if not link.startswith(("cells/", "#"))]
    assert set(re.findall(r"\w+://[^\s\"<]+", whole)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    clips = re.findall(r"url\(#([^)]*)\)", whole)
    assert whole.count("url(") == len(clips) > 0
    assert "@import" not in whole
    ids = read.attributes["id"]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} | set(clips) <= set(ids)
    assert read.tags.count("caption") == read.tags.count("table") == 2
    assert read.tags.count("figcaption") == len(drawings(whole)) == 2


def test_every_dot_leads_to_its_cell(whole):
    table, found = made_up()
    targets = [item.get("{http://www.w3.org/1999/xlink}href") for item in drawings(whole)["arms"].iter(f"{SVG}a")]
    names = {key: f"#{cell_name(record['arm'], record['seed'], record['identity'])}" for key, record in found.items()}
    values = {(row["name"], seed): value for row in table["arms"] for seed, value in zip(NUMBERS, row["values"])}  # noqa: B905
    drawn = [names[key] for key, value in values.items() if value is not None]
    assert sorted(targets) == sorted(drawn + [name for name in drawn if not name.startswith("#base")])


def test_every_cell_tells_what_it_is(whole):
    table, found = made_up()
    text = words_of(whole)
    assert Reader(whole).tags.count("details") == len(ARMS) * len(NUMBERS)
    for (arm, seed), record in found.items():
        assert text.count(f"identity {record['identity']} files") == 1
        assert f'<details id="{cell_name(arm, seed, record["identity"])}">' in whole
        words = list(ARMS[[other.name for other in ARMS].index(arm)].words)
        words += [] if "--optim.warmup" in words else ["--optim.warmup", "2"]  # which --run.steps might shorten
        assert f"command {shlex.join([*WORDS, *words, '--run.seed', str(seed)])} identity" in text
    assert text.count("seed 4: failed: training stopped: <nan> & co") == 1
    assert text.count(": failed: warmup of 99 updates does not fit command") == 4
    assert text.count("No changes: this is the base.") == 1
    assert text.count("optim.peak_lr: 0.1 \u2192 1e+30") == text.count("model.width: 16 \u2192 8") == 1
    bare = words_of(page(table, found, ()))
    assert "override words --optim.peak-lr 1e30 --run.seed 3 identity" in bare


def test_what_cells_have_in_common_is_there_once_and_what_differs_at_each(whole):
    table, found = made_up()
    text = words_of(whole)
    assert "model.width 16 optim.peak_lr 0.1 optim.warmup 2 jax 0.10.2 jaxlib 0.10.1 platform cpu" in text
    assert text.count(f"train data {'11' * 32} eval data {'22' * 32} classes.json digest {'33' * 32}") == 1
    assert text.count(f"code digest {digest({'a.py': '0'})} packages digest {digest({'jax': '0'})} packing exact") == 1
    found["base", 4]["parts"]["platform"]["jax"] = "0.10.3"
    found["base", 5]["parts"]["init"] = "44" * 32
    text = words_of(page(table, found, WORDS))
    assert text.count("jax 0.10.3") == 1
    assert text.count("jax 0.10.2") == 11  # not of the arm that could not be built
    assert text.count(f"initial weights {'44' * 32}") == 1


def test_every_number_of_the_table_is_in_every_format(whole):
    table, _ = made_up()
    rows = [row | row.get("against_base", {}) for row in table["arms"]]
    names = ("mean", "std", "low", "high", "difference", "p", "holm_p", "improvement")
    numbers = [row[name] for row in rows for name in names if row.get(name) is not None]
    numbers += [value for row in rows for value in row["values"] if value is not None]
    texts = {name: FORMATS[name](table) for name in ("txt", "md", "tex")} | {"html": words_of(whole)}
    for name, text in texts.items():
        found = set(re.findall(r"-?\d[\d.e+-]*", text))
        assert [value for value in numbers if f"{value:.5g}" not in found] == [], name
        assert text.count("not claimed") >= 3
    cells = {cell for line in csv.reader(io.StringIO(FORMATS["csv"](table))) for cell in line}
    assert [value for value in numbers if str(value) not in cells] == []


HOSTILE = [
    "<script>alert(1)</script>",
    "</svg></style>&lt;&amp;",
    'id="x" url(#y) #010203',
    "50 % _under_ $x^2$ {a}~b \\cmd # | `code` *bold* [link](http://a.b)",
    "日本語 \u202e عربى 🙂",
    "two\nlines\tand\x1b[31m\x00 \udcff",
    "{{ 7 * 7 }} {% raw %}",
    "1e5",
]


def hostile():
    """A table and records whose arms have hostile names, and what a reader is to see of each."""
    arms = [ARMS[0], *(Arm(name, ("--x", "1")) for name in HOSTILE)]
    records = {(arm.name, seed): {**made("base", seed), "arm": arm.name} for arm in arms for seed in (3, 4)}
    for index, key in enumerate(records):
        records[key]["identity"] = f"{index:064d}"
    return ablation_table(arms, [3, 4], records, METRIC, False), records, [printable(name) for name in HOSTILE]


def test_hostile_names_are_text_on_the_page():
    table, records, names = hostile()
    made = page(table, records, WORDS)
    read = Reader(made)
    assert read.tags.count("script") == read.tags.count("style") - 2 == 1  # each figure has a style of its own
    assert "http://a.b" not in "".join(read.attributes["href"])
    for name in names:
        assert "".join(read.text).count(name) >= 3  # in two tables and at its cells
    assert "49" not in names
    labels = "".join("".join(text.itertext()) for text in drawings(made)["arms"].iter(f"{SVG}text"))
    for name in names:
        assert name.split()[0] in labels
    assert len(read.attributes["id"]) == len(set(read.attributes["id"]))


def test_hostile_names_are_text_in_latex_and_markdown():
    table, _, names = hostile()
    commands = {r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\^{}": "^", r"\ensuremath{<}": "<"}
    commands |= {r"\ensuremath{>}": ">"} | {"\\" + character: character for character in "&%$#_{}"}
    known = re.compile("|".join(map(re.escape, sorted(commands, key=len, reverse=True))))
    lines = [line for line in FORMATS["tex"](table).splitlines() if line.endswith(r" \\")]
    read = []
    for line in lines:
        cells = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
        assert len(cells) in (13, 3)
        assert not re.search(r"[&%$#_{}~^\\<>]", known.sub("", cells[0]))
        read.append(known.sub(lambda command: commands[command[0]], cells[0]).strip())
    assert [name for name in read if name not in ("arm", "base")] == names * 2
    lines = [line for line in FORMATS["md"](table).splitlines() if line.startswith("|") and "---" not in line]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {13, 3}
    read = [re.sub(r"\\(.)", r"\1", row[0]).strip() for row in cells]
    assert [name for name in read if name not in ("arm", "base")] == names * 2
    assert not re.search(r"(?<!\\)[<`*$\[]", FORMATS["md"](table).split("\n", 2)[2])
    assert [row[0] for row in csv.reader(io.StringIO(FORMATS["csv"](table)))][2:] == HOSTILE  # data, as it is


def test_the_wheel_has_every_file_that_the_package_reads():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    listed = {
        file
        for name, globs in packages.items()
        for glob in globs
        for file in (ROOT / name.replace(".", "/")).glob(glob)
    }
    files = {path for path in (ROOT / "jaxlm").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert files == listed


@pytest.mark.parametrize("seeds", [[3], [4, 6], NUMBERS])
@pytest.mark.parametrize("arms", [ARMS[:2], [ARMS[0], ARMS[2]], [ARMS[0], ARMS[3]]])
def test_few_seeds_and_arms_without_a_value_make_a_page(arms, seeds):
    made = page(*made_up(arms, seeds), WORDS)
    assert Reader(made).tags.count("details") == 2 * len(seeds)
    assert len(drawings(made)) == 2


def test_links_lead_to_what_is_there(made):
    directory, _ = made
    text = (directory / "table.html").read_text()
    read = Reader(text)
    links = [href for href in read.attributes["href"] if not href.startswith("#")]
    assert len(links) == len(set(links)) == 2 * 3 * len(SEEDS)
    assert all((directory / link).is_dir() if link.endswith("/") else (directory / link).is_file() for link in links)
    assert str(directory) not in text
    assert "".join(read.text).count(f"failed: {DIVERGED}") == 2 * 3  # in the notes and at the cell


def test_the_command_of_a_cell_gives_its_config(made, config):
    directory, _ = made
    lines = [shlex.split(text) for text in Reader((directory / "table.html").read_text()).text if "--run.seed" in text]
    found = records(directory)
    assert len(lines) == len(found)
    told = [settings(parse(load_config(line[2]), line[3:], "a cell")) for line in lines]
    parts = [found[arm, seed]["parts"]["config"] for arm in ("base", "slow", "too fast") for seed in SEEDS]
    assert told == parts
    assert {tuple(line[:3]) for line in lines} == {("python", command(config, directory)[1], str(config))}


def test_overrides_of_the_command_line_are_in_the_command(made, config, monkeypatch, tmp_path):
    shutil.copytree(made[0], tmp_path / "copy")
    no_training(monkeypatch)
    assert jaxlm(*command(config, tmp_path / "copy", "--run.keep-last", "3"))[0] == 0  # no number depends on it
    text = "".join(Reader((tmp_path / "copy" / "table.html").read_text()).text)
    assert text.count(f"{config} --run.keep-last 3 --optim.peak-lr 1e-3 --run.seed 6") == 1
