"""The page of an ablation: a function of the records, whole, valid, and in need of no other file."""

import json
import shlex
import shutil

import pytest
from ablations import DIVERGED, SEEDS, command, jaxlm, no_training, records
from pages import ARMS, METRIC, STRANGE, Reader, drawings, made_up
from pages import SEEDS as NUMBERS

from jaxlm.ablate.arms import parse
from jaxlm.ablate.cell import cell_name, settings
from jaxlm.ablate.page import page
from jaxlm.train.config import load
from jaxlm.train.serialise import digest

WORDS = ("python", "my experiment.py", "config.py", "--run.steps", "12")


@pytest.fixture(scope="module")
def whole():
    return page(*made_up(), WORDS)


def test_the_same_records_in_another_order_give_the_same_bytes(whole):
    table, found = made_up()
    again = json.loads(json.dumps(table)), dict(reversed(list(found.items())))
    assert page(*again, WORDS) == whole
    for record in found.values():
        record["parts"] = dict(reversed(list(record["parts"].items())))
    assert page(table, found, WORDS) == whole
    assert whole.isascii()


def test_the_page_is_valid_escaped_and_loads_nothing(whole):
    read = Reader(whole)
    for name in ("src", "srcset", "data", "action"):
        assert name not in read.attributes
    assert not {"link", "img", "iframe", "object"} & set(read.tags)
    assert not [href for href in read.attributes["href"] if not href.startswith(("cells/", "#"))]
    assert whole.count("http") == 3  # the namespace of each figure
    assert "url(" not in whole.replace("url(#curves-frame)", "")
    assert "b" not in read.tags
    assert "".join(read.text).count(STRANGE) > 8
    assert len(read.attributes["id"]) == len(set(read.attributes["id"]))
    targets = {href[1:] for href in read.attributes["href"] if href.startswith("#")}
    assert targets <= set(read.attributes["id"])
    assert read.tags.count("caption") == read.tags.count("table") == 2
    found = drawings(whole)
    assert list(found) == ["values", "differences", "curves"]
    for name, svg in found.items():
        assert svg.get("aria-labelledby") == f"{name}-title {name}-desc"
        assert METRIC in svg.find("title").text
        assert "base: " in svg.find("desc").text or name == "differences"
        assert STRANGE in svg.find("desc").text


def test_every_cell_tells_what_it_is(whole):
    table, found = made_up()
    text = " ".join(" ".join(Reader(whole).text).split())
    assert Reader(whole).tags.count("details") == len(ARMS) * len(NUMBERS)
    for (arm, seed), record in found.items():
        assert f"{arm}, seed {seed}:" in text
        assert record["identity"] in text
        assert f'id="{cell_name(arm, seed, record["identity"])}"' in whole
    assert text.count("status failed: training stopped: <nan> & co") == 2
    assert text.count("status failed: warmup of 99 updates does not fit") == 4
    assert text.count("none: this is the base") == 4
    assert text.count("optim.peak: 0.1 \u2192 1e+30") == text.count("model.width: 16 \u2192 8") == 4
    assert text.count(f"code digest {digest({'a.py': '0'})}") == text.count(f"packages digest {digest({'jax': '0'})}")
    assert text.count(f"train data {'11' * 32} eval data {'22' * 32} classes.json digest {'33' * 32}") == 12
    assert text.count("jax 0.10.2 jaxlib 0.10.1 platform cpu") == text.count("packing exact") == 12
    words = "python 'my experiment.py' config.py --run.steps 12 --model.width '8 & 9' --run.seed 5"
    assert f"command, to train it alone {words} identity" in text
    bare = " ".join(" ".join(Reader(page(table, found, ())).text).split())
    assert "override words, to train it alone --optim.peak 1e30 --run.seed 3 identity" in bare


@pytest.mark.parametrize("seeds", [[3], [4, 6], NUMBERS])
@pytest.mark.parametrize("arms", [ARMS[:2], [ARMS[0], ARMS[2]], [ARMS[0], ARMS[3]]])
def test_few_seeds_and_arms_without_a_value_make_a_page(arms, seeds):
    made = page(*made_up(arms, seeds), WORDS)
    assert Reader(made).tags.count("details") == 2 * len(seeds)
    assert len(drawings(made)) == 3


def test_links_lead_to_what_is_there(made):
    directory, _ = made
    text = (directory / "table.html").read_text()
    read = Reader(text)
    links = [href for href in read.attributes["href"] if not href.startswith("#")]
    assert len(links) == len(set(links)) == 2 * 3 * len(SEEDS)
    assert all((directory / link).is_dir() if link.endswith("/") else (directory / link).is_file() for link in links)
    assert str(directory) not in text
    assert "".join(read.text).count(f"failed: {DIVERGED}") == 3 * 3  # in the notes, in the heading, in the section


def test_the_command_of_a_cell_gives_its_config(made, config):
    directory, _ = made
    lines = [shlex.split(text) for text in Reader((directory / "table.html").read_text()).text if "--run.seed" in text]
    found = records(directory)
    assert len(lines) == len(found)
    told = [settings(parse(load(line[2]), line[3:], "a cell")) for line in lines]
    parts = [found[arm, seed]["parts"]["config"] for arm in ("base", "slow", "too fast") for seed in SEEDS]
    assert told == parts
    assert {tuple(line[:3]) for line in lines} == {("python", command(config, directory)[1], str(config))}


def test_overrides_of_the_command_line_are_in_the_command(made, config, monkeypatch, tmp_path):
    shutil.copytree(made[0], tmp_path / "copy")
    no_training(monkeypatch)
    assert jaxlm(*command(config, tmp_path / "copy", "--run.keep-last", "3"))[0] == 0  # no number depends on it
    text = "".join(Reader((tmp_path / "copy" / "table.html").read_text()).text)
    assert text.count(f"{config} --run.keep-last 3 --optim.peak 1e-3 --run.seed 6") == 1
