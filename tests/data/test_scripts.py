import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxlm.data import BPE, Text

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script, *words):
    command = [sys.executable, str(SCRIPTS / script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(3):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"the same words again, the same words {number}\n" * 200)
    return tmp_path / "texts"


def test_a_tokenizer_is_trained_alike_twice_and_used_by_a_config(folder, tmp_path):
    for name in ("one.json", "two.json"):
        done = run("train_tokenizer.py", folder, "--vocab", 290, "--sentinels", 8, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "bytes per token" in done.stdout
        assert "sha256 " in done.stdout
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    data = Text(path=str(folder), tokenizer=BPE(str(tmp_path / "one.json")), batch=2, length=16)
    data.check(SimpleNamespace(context=16, vocab=290))
    stream = data.eval().source.stream
    assert data.build_tokenizer().decode(stream.tokens[:-1]) == (folder / "2.txt").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing"], "no text at missing"),
        (["--vocab", "9"], "at least 257"),
        (["--out", "missing/tokenizer.json"], "no folder missing"),
        (["text", "--tfds", "name"], "give one of them"),
    ],
)
def test_bad_input_of_the_tokenizer_script_is_one_line_and_exit_2(words, message):
    done = run("train_tokenizer.py", *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_preparing_without_tensorflow_says_what_to_install():
    done = run("prepare_tfds.py", "--help")
    assert done.returncode == 0
    assert "array_record" in done.stdout
    shadow = "import sys; sys.modules['tensorflow'] = None; import runpy; sys.argv = ['prepare_tfds.py', 'lm1b']; "
    code = shadow + f"runpy.run_path({str(SCRIPTS / 'prepare_tfds.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "error: preparing needs TensorFlow: pip install tensorflow\n"


def test_help_answers_without_jax():
    code = (
        "import sys, runpy; sys.argv = ['train_tokenizer.py', '--help']\n"
        f"try: runpy.run_path({str(SCRIPTS / 'train_tokenizer.py')!r}, run_name='__main__')\n"
        "except SystemExit: print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("False\n")
