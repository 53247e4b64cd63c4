"""Checkpoints from and to the hub, against a stand-in for it over HTTP.

huggingface_hub reads its environment when it is imported, so whatever uses it runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import vssm
from tests.vssm.stand_in_hub import TOKEN, Files, Hub, serving
from vssm import CheckpointError
from vssm.checkpoint import shipped_folder
from vssm.cli import app
from vssm.hub import LIMIT_BYTES, HubId, as_hub_id, parse

SHIPPED: Files = {path.name: path.read_bytes() for path in (shipped_folder() / "mnist").iterdir()}
COMMAND = "from vssm.cli import app; app()"
LOAD = """
import sys, numpy, vssm
model = vssm.load(sys.argv[1])
numpy.save(sys.argv[2], model.generate(num_samples=2, seed=5).values)
print(model.fingerprint)
"""
ERRORS = """
import json, sys, vssm
def message(name):
    try:
        vssm.load(name)
    except vssm.CheckpointError as error:
        return str(error)
print(json.dumps({name: message(name) for name in sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with serving() as running:
        yield running


def python(hub: Hub, home: Path, code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code with the stand-in as the hub and `home` as the place of the cache."""
    chosen = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": "", "HF_HUB_DISABLE_XET": "1", **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env={**os.environ, **chosen}, capture_output=True, text=True, check=False)


def test_pushed_pulled_and_loaded_by_its_id_it_is_the_same(hub: Hub, tmp_path: Path) -> None:
    card = tmp_path / "out" / "README.md"
    pushed = python(hub, tmp_path, COMMAND, "push", "mnist", "me/digits", "--private", HF_TOKEN=TOKEN)
    assert (pushed.returncode, pushed.stdout.strip()) == (0, f"{hub.url}/me/digits"), pushed.stderr
    repository = hub.repositories["me/digits"]
    assert (repository.private, len(repository.commits)) == (True, 2)  # the empty one, and one with all files

    pulled = python(hub, tmp_path, COMMAND, "pull", "me/digits", "--out", card.parent, HF_TOKEN=TOKEN)
    assert pulled.returncode == 0, pulled.stderr
    assert {path.name for path in card.parent.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert vssm.load(card.parent).fingerprint == vssm.load("mnist").fingerprint
    front = card.read_text().split("---")[1]
    assert all(line in front for line in ("library_name: vssm", "license: mit", "- vssm"))
    assert 'vssm.load("me/digits")' in card.read_text()

    before = len(hub.requests)
    loaded = python(hub, tmp_path, LOAD, "me/digits", tmp_path / "values.npy", HF_HUB_OFFLINE="1")  # from the cache
    assert loaded.stdout.strip() == vssm.load("mnist").fingerprint, loaded.stderr
    assert np.array_equal(np.load(tmp_path / "values.npy"), vssm.load("mnist").generate(num_samples=2, seed=5).values)
    assert len(hub.requests) == before


def test_a_revision_is_the_commit_it_names(hub: Hub, tmp_path: Path) -> None:
    repository = hub.add("me/versions", SHIPPED)
    repository.refs["v1"] = repository.refs["main"]
    repository.commit({"config.json": b"{}"})
    pulled = python(hub, tmp_path, COMMAND, "pull", "me/versions", "--revision", "v1")
    assert Path(pulled.stdout.strip()).name == repository.refs["v1"], pulled.stderr
    latest = python(hub, tmp_path, COMMAND, "pull", "me/versions")
    assert latest.returncode == 2
    assert "must hold exactly" in latest.stderr


@pytest.fixture(scope="module")
def messages(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `vssm.load` says about repositories that cannot be used."""
    hub.add("other/foreign", {**SHIPPED, "config.json": b'{"model_type": "bert"}'})
    hub.add("other/huge", SHIPPED, sizes={"model.safetensors": LIMIT_BYTES["model.safetensors"] + 1})
    hub.add("other/empty", {"README.md": b""})
    hub.add("other/gated", SHIPPED, gated=True)
    hub.add("other/private", SHIPPED, private=True)
    hub.add("other/broken", {**SHIPPED, "model.safetensors": b"x" * 40})
    names = [f"other/{name}" for name in WRONG]
    result = python(hub, tmp_path_factory.mktemp("home"), ERRORS, *names)
    assert result.returncode == 0, result.stderr
    return {name.removeprefix("other/"): message for name, message in json.loads(result.stdout).items()}


WRONG = {
    "foreign": "must hold exactly 'format_version' and 'config'",
    "huge": "model.safetensors has 4,294,967,297 bytes, at most 4,294,967,296 are downloaded",
    "empty": "is not a VSSM checkpoint: it has no config.json",
    "gated": "no access to other/gated",
    "private": "if it is private, run `hf auth login` or set HF_TOKEN",
    "missing": "there is no shipped model and no folder 'other/missing'",
    "foreign@v9": "has no revision 'v9'",
    "broken": "truncated or not a safetensors file",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_used_is_refused_with_the_reason(messages: dict[str, str], name: str) -> None:
    assert WRONG[name] in messages[name]


@pytest.mark.usefixtures("messages")
@pytest.mark.parametrize("name", ["foreign", "huge", "empty", "gated", "private"])
def test_weights_that_would_be_refused_are_not_downloaded(hub: Hub, name: str) -> None:
    assert not [request for request in hub.requests if name in request and request.endswith(".safetensors")]


def test_without_a_network_the_reason_is_the_network(hub: Hub, tmp_path: Path) -> None:
    offline = python(hub, tmp_path, ERRORS, "other/foreign", HF_HUB_OFFLINE="1").stdout
    assert "HF_HUB_OFFLINE is set" in offline
    assert "not in the hub's cache" in offline


def test_what_does_not_load_is_not_pushed(hub: Hub, tmp_path: Path) -> None:
    for name, data in {**SHIPPED, "model.safetensors": b"x" * 40}.items():
        (tmp_path / name).write_bytes(data)
    pushed = python(hub, tmp_path, COMMAND, "push", tmp_path, "me/broken", HF_TOKEN=TOKEN)
    assert pushed.returncode == 2
    assert "truncated" in pushed.stderr
    assert "me/broken" not in hub.repositories


def test_a_push_without_a_token_says_how_to_sign_in(hub: Hub, tmp_path: Path) -> None:
    pushed = python(hub, tmp_path, COMMAND, "push", "mnist", "me/digits2")
    assert pushed.returncode == 2
    assert "run `hf auth login` or set HF_TOKEN" in pushed.stderr


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../b",
        "a/b/c",
        "/a/b",
        "a/b\n",
        "a",
        "a/b@",
        "a/b@../../x",
        "a/b@-x",
        "a/b@x/../y",
        ".a/b",
        "a--b/c",
        "a/b.git",
        "a/" + "b" * 99,
        "a/b?c",
        "a/ü",
    ],
)
def test_a_name_of_another_shape_never_reaches_the_hub(name: str) -> None:
    with pytest.raises(CheckpointError, match="is no hub id"):
        parse(name)
    with pytest.raises(CheckpointError, match="no model named"):
        vssm.load(name)


def test_shipped_names_and_folders_come_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert as_hub_id("me/digits@v1") == HubId("me/digits", "v1")
    (tmp_path / "me" / "digits").mkdir(parents=True)
    assert as_hub_id("me/digits") is None
    assert as_hub_id("mnist") is None


def test_figures_are_not_written_into_the_cache() -> None:
    result = CliRunner().invoke(app, ["evaluate", "me/digits", "--card"])
    assert (result.exit_code, "vssm pull me/digits --out" in result.stderr) == (2, True)


def test_huggingface_hub_is_imported_only_for_hub_ids() -> None:
    code = "import sys, vssm, vssm.hub; vssm.load('mnist'); print('huggingface_hub' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
