"""The commands do what they say, and errors are messages with exit code 2."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

import vssm
from tests.vssm.conftest import config_of
from tests.vssm.models import build
from vssm import data
from vssm.cli import app
from vssm.cli_shared import _ERRORS, messages
from vssm.data import Dataset, Images
from vssm.data.files import DataFile
from vssm.forecast import Setting, by_model, evaluate
from vssm.recipe import Recipe

MakeRecipe = Callable[..., Recipe]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def fails(*arguments: object) -> str:
    """Run a command that must fail with a message, and return the message."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return str(result.stderr)


@pytest.fixture
def checkpoint(make_recipe: MakeRecipe, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    vssm.save(vssm.VSSM(config_of(make_recipe())), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def recipe_file(recipe_text: str, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(recipe_text)
    return path


@pytest.fixture(autouse=True)
def stripes(monkeypatch: pytest.MonkeyPatch, images: Images, tmp_path: Path) -> None:
    """A registered data set with the tiny images, one empty file as its only file."""
    monkeypatch.setenv("VSSM_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "stripes").mkdir(parents=True)
    (tmp_path / "data" / "stripes" / "empty").touch()
    empty = DataFile("empty", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", ())
    tiny = Dataset("Stripes", "none", "stripes", {"train": (empty,), "test": (empty,)}, lambda *_: images)
    monkeypatch.setitem(data.DATASETS, "stripes", tiny)


def test_train_evaluate_sample_info(recipe_file: Path, tmp_path: Path) -> None:
    """The whole path of a user."""
    out = tmp_path / "run"
    trained = run("train", recipe_file, "--out", out, "--set", "training.steps=6")
    assert trained.exit_code == 0, trained.output
    assert f"next: vssm evaluate {out}/best --dataset stripes --card" in trained.output
    again = run("train", recipe_file, "--out", out, "--set", "training.steps=6")
    assert "going on from step 6" in again.stderr
    assert again.stdout == trained.stdout

    evaluated = run(
        "evaluate",
        out / "best",  # whose card names the data set
        "--num-importance-samples",
        3,
        "--limit",
        30,
        "--card",
        "--json",
    )
    figures = json.loads(evaluated.stdout)
    assert (figures["examples"], figures["num_importance_samples"]) == (30, 3)
    assert f"{figures['negative_elbo']['nats']:.2f}" in (out / "best" / "README.md").read_text()

    assert run("sample", out / "best", "--out", tmp_path / "s.png").exit_code == 0
    described = json.loads(run("info", out / "best", "--json").stdout)
    assert described["fingerprint"] == vssm.load(out / "best").fingerprint


@pytest.mark.parametrize("named", [None, "no recipe", '[data]\ndataset = "{path}"', "[data]\ndataset = 3", "[data"])
def test_a_card_that_names_no_known_data_set_chooses_none(checkpoint: Path, tmp_path: Path, named: str | None) -> None:
    path, rows = checkpoint / "README.md", tmp_path / "rows.npy"
    np.save(rows, np.zeros((4, 8, 8), np.uint8))
    path.unlink(missing_ok=True)
    if named is not None:
        path.write_text(f"# Mine\n\n```toml\n{named.format(path=rows)}\n```\n")
    refused = run("evaluate", checkpoint)
    assert refused.exit_code == 2
    assert "--dataset names one" in re.sub(r"[\s│]+", " ", refused.stderr)


def test_tables_are_printed(checkpoint: Path) -> None:
    table = run("evaluate", checkpoint, "--dataset", "stripes", "--num-importance-samples", 2)
    assert re.search(r"negative ELBO\s+│\s+\d+\.\d\d\s+│\s+\d+\.\d\d", table.stdout)
    info = run("info", checkpoint).stdout
    assert re.search(r"encoder\s+│\s+causal", info)
    assert vssm.load(checkpoint).fingerprint in re.sub(r"[\s│]", "", info)  # whole, in however many lines
    one = run("evaluate", checkpoint, "--dataset", "stripes", "--num-importance-samples", 2, "--limit", 1)
    assert "unknown" in one.stdout  # the standard error of one example


def test_samples_are_those_of_generate(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "s.npy"
    result = run("sample", checkpoint, "--out", out, "--num-samples", 3, "--seed", 5, "--length", 4, "--mean")
    assert result.exit_code == 0, result.output
    expected = vssm.load(checkpoint).generate(num_samples=3, seed=5, length=4, output="mean").values
    np.testing.assert_array_equal(np.load(out), expected)


def test_pictures_show_prefix_and_completion(checkpoint: Path, tmp_path: Path) -> None:
    prefix = np.random.default_rng(0).integers(0, 2, (3, 8)).astype(np.uint8)
    np.save(tmp_path / "top.npy", prefix)
    command = ("sample", checkpoint, "--prefix", tmp_path / "top.npy", "--num-samples", 1, "--scale", 1)
    assert run(*command, "--out", tmp_path / "s.png").exit_code == 0
    rest = vssm.load(checkpoint).generate(num_samples=1, prefix=prefix).values[0]
    pixels = np.asarray(Image.open(tmp_path / "s.png"))[2:-2, 2:-2]
    np.testing.assert_array_equal(pixels, np.concatenate([prefix, rest]) * 255)


def test_pictures_in_colour_show_the_levels(tmp_path: Path) -> None:
    colour = {"length": 4, "size": 12, "modality": "image", "image": {"height": 4, "width": 4, "channels": 3}}
    networks = {"encoder": {"width": 8, "state": 4, "layers": 1}, "decoder": {"width": 8, "state": 4}}
    levels = [{"kind": "gaussian", "size": 2, "layers": 1}]
    config = {**colour, **networks, "observation": {"kind": "logistic_mixture"}, "levels": levels}
    vssm.save(vssm.VSSM(vssm.ModelConfig.model_validate(config)), tmp_path / "m")
    result = run("sample", tmp_path / "m", "--num-samples", 1, "--scale", 1, "--out", tmp_path / "s.png")
    assert result.exit_code == 0, result.output
    expected = vssm.load(tmp_path / "m").generate(seed=0).values.reshape(4, 4, 3)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "s.png"))[2:-2, 2:-2], expected)


def test_data_lists_checked_files(tmp_path: Path) -> None:
    result = run("data", "stripes")
    assert str(tmp_path / "data" / "stripes" / "empty") in result.stdout
    assert "Stripes: complete" in result.stdout


def test_data_errors_are_messages(tmp_path: Path) -> None:
    assert "unknown data set 'letters'" in fails("data", "letters")
    path = tmp_path / "data" / "stripes" / "empty"
    path.write_bytes(b"not empty")
    assert f"{path} is too long" in fails("data", "stripes")


def test_recipe_errors_are_messages(recipe_file: Path, tmp_path: Path) -> None:
    assert "cannot read recipe" in fails("train", tmp_path / "absent.toml")
    message = fails("train", recipe_file, "--set", "training.stepz=5")
    assert "training.stepz: unknown field, did you mean steps?" in message
    assert "unknown data set 'x'" in fails("train", recipe_file, "--set", "data.dataset=x")
    assert "--device tpu5" in fails("train", recipe_file, "--device", "tpu5")


def test_model_errors_are_messages(checkpoint: Path, tmp_path: Path) -> None:
    assert "no model named" in fails("info", tmp_path / "absent")
    (checkpoint / "model.safetensors").write_bytes(b"half")
    for command in (("info",), ("sample", "--out", tmp_path / "s.png"), ("evaluate", "--dataset", "stripes")):
        assert "model.safetensors" in fails(*command, checkpoint)


def test_sample_errors_are_messages(checkpoint: Path, tmp_path: Path) -> None:
    png = ("sample", checkpoint, "--out", tmp_path / "s.png")
    assert "must end in .png or .npy" in fails("sample", checkpoint, "--out", tmp_path / "s.gif")
    assert "3 steps of 8 values are not an image" in fails(*png, "--length", 3)
    assert "No such file" in fails(*png, "--prefix", tmp_path / "absent.npy")
    np.save(tmp_path / "wrong.npy", np.full((3, 8), 7))
    assert "observed" in fails(*png, "--prefix", tmp_path / "wrong.npy")
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    refused = fails(*png, "--prefix", tmp_path / "objects.npy")
    assert "is not a .npy file of numbers" in refused
    assert "pickle" not in refused  # numpy advises to trust the file
    assert not (tmp_path / "s.png").exists()


def test_expected_errors_exist() -> None:
    """They are named by words, so that their modules need not be imported."""
    for module, name in _ERRORS.items():
        assert issubclass(getattr(import_module(module), name), Exception)


def test_too_little_memory_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, messages():
        torch.zeros(2**60)
    assert ended.value.exit_code == 2
    assert "there is not enough memory for this" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="a bug"), messages():
        raise RuntimeError("a bug")


def test_long_work_shows_a_bar_on_a_terminal(checkpoint: Path, series_model: Path, tmp_path: Path) -> None:
    """A terminal is taken for one by rich when FORCE_COLOR says so."""
    terminal = {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1"}
    bars = {
        "sampling": ("sample", checkpoint, "--out", tmp_path / "s.png"),
        "evaluating": ("evaluate", checkpoint, "--dataset", "stripes", "--num-importance-samples", 2),
        "seasonal-naive": ("forecast", series_model, "--horizon", 4, "--season", 3, "--windows", 5),
    }
    for word, command in bars.items():
        result = CliRunner().invoke(app, [str(part) for part in command], env=terminal)
        assert result.exit_code == 0, result.output
        assert re.search(rf"{word}\s.*[━╸]", result.stderr), word
        assert word not in run(*command).stderr


def test_help_comes_without_torch() -> None:
    """The command's module imports nothing heavy, whatever the package itself imports."""
    stub = "import sys, types; vssm = types.ModuleType('vssm'); vssm.__path__ = ['vssm']; sys.modules['vssm'] = vssm"
    code = f"{stub}; from vssm.cli import app; sys.exit(bool({{'torch', 'numpy', 'matplotlib'}} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0


@pytest.fixture
def series_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of series of 12 steps, and a series to forecast."""
    rows = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)
    parts = {"test": data.Series(rows[40:], ("a", "b")), "train": data.Series(rows, ("a", "b"))}
    monkeypatch.setattr(data, "load_series", lambda name, split: parts[split])
    vssm.save(build("scaled"), tmp_path / "series")
    return tmp_path / "series"


def test_forecast_measures_beside_seasonal_naive(series_model: Path) -> None:
    options = ("--horizon", 4, "--season", 3, "--windows", 5, "--num-samples", 9)
    result = json.loads(run("forecast", series_model, *options, "--json").stdout)
    rows = data.load_series("any", "train").values
    setting = Setting(8, 4, num_samples=9, season=3, limit=5)
    expected = evaluate(by_model(vssm.load(series_model)), rows[40:], rows, setting).as_dict()
    assert result["model"] == json.loads(json.dumps(expected))
    table = run("forecast", series_model, *options).stdout
    assert f"{result['model']['crps']:.3f}" in table
    assert f"{result['seasonal-naive']['crps']:.3f}" in table


def test_only_models_of_series_forecast(checkpoint: Path) -> None:
    assert "is a model of image; only models of series forecast" in fails("forecast", checkpoint)


def test_forecast_says_what_does_not_fit(series_model: Path) -> None:
    assert "which leaves no context; give --context" in fails("forecast", series_model, "--horizon", 12)
    assert "more than a season" in fails("forecast", series_model, "--horizon", 4, "--season", 24)
