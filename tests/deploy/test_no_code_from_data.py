"""Nothing that is shipped turns data into code: no pickle in any guise, no eval, no shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("vssm", "server/vssm_server", "clients/python", "benchmarks", "docker")
MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "marshal", "joblib", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {"torch.load", "torch.jit.load", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "pickle.loads"}


def offences(source: str) -> Iterator[str]:
    """What is found in a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in BUILTINS | CALLS:
                yield name
            for keyword in node.keywords:
                unsafe = keyword.arg in ("allow_pickle", "shell", "trust_remote_code")
                if unsafe and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
                    yield f"{name}({keyword.arg}=...)"
                if (name, keyword.arg) == ("torch.load", "weights_only"):
                    yield name


def test_no_code_from_data() -> None:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 100
    assert [f"{path}: {found}" for path in files for found in offences(path.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import dill as d", "eval('1')", "exec(x)", "__import__('os')",
        "torch.load(p)", "np.load(p, allow_pickle=True)", "np.load(p, allow_pickle=flag)", "run(x, shell=True)",
        "yaml.load(x)",
    ],
)  # fmt: skip
def test_the_scan_finds_each(source: str) -> None:
    assert list(offences(source))


def test_the_scan_lets_the_harmless_pass() -> None:
    assert not list(offences("model.eval(); np.load(p, allow_pickle=False); re.compile(x); import json"))
