"""Files of the user's own import the modules beside them, in any version, without a change of `sys.path`."""

import pickle
import subprocess
import sys

import pytest

from jaxlm.errors import BadInput
from jaxlm.runs.load import load_module, reader, sources


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_a_file_imports_what_is_beside_it_in_every_form_of_the_statement(tmp_path):
    write(
        tmp_path,
        leaf="VALUE = 1\n",
        lib__deep__inner="from . import near\nfrom lib.deep.near import VALUE as again\nimport leaf\n",
        lib__deep__near="VALUE = 3\n",
        entry="import leaf\nimport leaf as other\nimport lib.deep.near\nimport lib.deep.inner as inner\n"
        "from lib.deep import near\nfrom leaf import VALUE\nimport json, os.path\n"
        "def late():\n    from lib.deep.inner import again\n    return again\n",
    )
    (tmp_path / "lib" / "deep" / "__init__.py").touch()
    before = list(sys.path), set(sys.modules)
    module = load_module(tmp_path / "entry.py")
    assert (module.leaf.VALUE, module.other, module.VALUE) == (1, module.leaf, 1)
    assert module.lib.deep.near is module.near is module.inner.near
    assert module.late() == 3
    assert module.inner.leaf is module.leaf
    assert sys.path == before[0]
    assert not {"leaf", "lib", "entry"} & set(sys.modules) - before[1]


def test_the_sources_are_those_that_are_imported_and_no_others(tmp_path):
    write(tmp_path, a="import b\n", b="def f():\n    from c.d import x\n", c__d="x = 1\n", e="import a\n", json="1/0\n")
    (tmp_path / "b.py").write_text((tmp_path / "b.py").read_text() + "import json, numpy, jaxlm.train\n")
    assert list(sources("a.py", reader(tmp_path))) == ["a.py", "b.py", "c/d.py"]
    assert load_module(tmp_path / "a.py").b.json.dumps(1) == "1"  # a name of the standard library is the library's


def test_a_file_is_executed_again_if_and_only_if_a_source_changed(tmp_path):
    write(tmp_path, a="import b\nclass A:\n    value = b.VALUE\n", b="VALUE = 1\n")
    first = load_module(tmp_path / "a.py")
    assert load_module(tmp_path / "a.py") is first
    write(tmp_path, b="VALUE = 2\n")
    second = load_module(tmp_path / "a.py")
    assert (first.A.value, second.A.value) == (1, 2)
    assert first.A.__module__ != second.A.__module__


def test_two_folders_have_modules_of_one_name(tmp_path):
    for value in (1, 2):
        write(tmp_path / f"v{value}.0", entry="from same import VALUE\n", same=f"VALUE = {value}\n")
    assert [load_module(tmp_path / f"v{value}.0" / "entry.py").VALUE for value in (1, 2)] == [1, 2]


def test_names_that_are_no_identifiers_are_loaded(tmp_path):
    (tmp_path / "50% of v1.5.py").write_text("VALUE = 7\n")
    assert load_module(tmp_path / "50% of v1.5.py").VALUE == 7


def test_an_object_of_such_a_module_reaches_another_process(tmp_path):
    write(
        tmp_path / "a.b",
        data="import near\nclass Data:\n    def __call__(self):\n        return near.VALUE\n",
        near="VALUE = 5\n",
    )
    (tmp_path / "object").write_bytes(pickle.dumps(load_module(tmp_path / "a.b" / "data.py").Data()))
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 'object')!r}, 'rb'))())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "5\n"


def test_a_class_of_the_script_that_was_started_is_one_class(tmp_path):
    write(
        tmp_path,
        own="class Own: pass\n",
        config="from own import Own\nfrom script import Main\nvalues = Own(), Main()\n",
        script="from own import Own\nfrom jaxlm.runs.load import load_module\nclass Main: pass\n"
        "if __name__ == '__main__':\n    own, main = load_module('config.py').values\n"
        "    print(isinstance(own, Own), isinstance(main, Main))\n",
    )
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\ny = undefined\n", r"bad.py line 2: NameError: name 'undefined' is not defined"),
        (
            "import nothing_of_that_name\n",
            r"bad.py line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'",
        ),
        ("x = (\n", r"bad.py line 1: '\(' was never closed"),
        (
            "from jaxlm.optim import AdamW\nAdamW(peak=1)\n",
            r"bad.py line 2: TypeError: .*unexpected keyword argument 'peak'",
        ),
        ("x = '\xe9'\n".encode("latin-1"), "is not a Python file"),
    ],
)
def test_an_error_in_a_file_names_the_line(tmp_path, text, told):
    (tmp_path / "bad.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=told):
        load_module(tmp_path / "bad.py")
