"""`make reproduce`: equal sizes and budgets; the same figures again; a page from what was measured; failures end it."""

from __future__ import annotations

import io
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from benchmarks.reproduce import measure, plan
from benchmarks.reproduce.pictures import curves, samples
from benchmarks.reproduce.report import results
from benchmarks.reproduce.run import in_parallel
from vssm import data
from vssm.data import Dataset, Images
from vssm.data.files import DataFile
from vssm.quality.classifier import CLASSIFIERS, ClassifierSettings

SETTINGS = measure.Settings(
    examples=(("mnist-rows", 6),), num_importance_samples=2, samples=70, continued=2, particles=(1, 2)
)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_families_of_a_task_have_equal_sizes_and_budgets(device: plan.Device) -> None:
    planned = plan.experiments(device)
    assert {e.task for e in planned} == set(plan.TASKS)
    for task in plan.TASKS:
        families = [e for e in planned if e.task == task and not e.ablation]
        assert tuple(e.name for e in families) == plan.families(task)
        sizes = [plan.parameters(e.recipe) for e in families]
        assert max(sizes) <= 1.05 * sizes[1]
        assert min(sizes) >= 0.95 * sizes[1]
        budgets = [e.recipe.training.model_copy(update={"learning_rate": 1.0}) for e in families]
        assert all(budget == budgets[0] for budget in budgets)
    assert len({e.key for e in planned}) == len(planned)


def test_a_rehearsal_is_shorter_in_proportion() -> None:
    (whole, *_), (short, *_) = plan.experiments(), plan.experiments(scale=0.1)
    assert short.recipe.training.steps == pytest.approx(whole.recipe.training.steps / 10)
    assert short.recipe.model == whole.recipe.model


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[plan.Experiment]:
    """A few steps of everything by rows, on a hundred real digits that stand for all of MNIST."""
    with np.load(Path(__file__).parents[1] / "data" / "mnist_digits.npz") as stored:
        digits = 255 * np.unpackbits(stored["bits"], axis=1).reshape(-1, 28, 28)[:100]
    stand_in = Images(digits, (np.arange(100) % 10).astype(np.uint8))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "empty").touch()
    empty = DataFile("empty", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", ())
    few = Dataset("MNIST", "none", "mnist", {"train": (empty,), "test": (empty,)}, lambda *_: stand_in)
    monkeypatch.setenv("VSSM_DATA", str(tmp_path))
    monkeypatch.setitem(data.DATASETS, "mnist", few)
    monkeypatch.setitem(CLASSIFIERS, "mnist", ClassifierSettings(steps=20, batch_size=8, widths=(4,), binarise=True))
    made = [e for e in plan.experiments(scale=0.001) if e.task == "mnist-rows"]
    few_held_out = made[0].recipe.data.model_copy(update={"validation_examples": 20})
    return [replace(e, recipe=e.recipe.model_copy(update={"data": few_held_out})) for e in made]


def measured(planned: list[plan.Experiment], folder: Path) -> dict[str, Any]:
    """What `run` returns, made in this process."""
    rows = []
    for e in planned:
        measure.train_one(e, folder, "cpu")
        row = {"task": e.task, "name": e.name, "ablation": e.ablation, "seconds_for_64": math.pi}
        row |= {"training": e.recipe.training.model_dump(), "records": measure.records(e, folder)}
        rows.append(row | measure.measure_one(e, folder, SETTINGS))
    real = {"mnist": measure.of_real_images("mnist", folder, SETTINGS)}
    machine = {"cpu": "a CPU", "cores": 2, "torch": torch.__version__}
    return {"machine": machine, "device": "cpu", "rows": rows, "real": real}


def test_the_page_holds_every_model_and_comes_out_again(planned: list[plan.Experiment], tmp_path: Path) -> None:
    few = [e for e in planned if not e.ablation or e.name in ("coupling-flow prior", plan.CUT)]
    found = measured(few, tmp_path / "a")
    page = results(found, SETTINGS, "make reproduce", "results")
    for e in few:
        assert f"| {e.name} |" in page
    assert "| real training images |" in page
    assert page.count("| exact |") >= 4  # two families, and their continuations
    assert "nan" not in page
    for picture in (samples("mnist-rows", few, tmp_path / "a"), curves(found["rows"])):
        assert Image.open(io.BytesIO(picture)).width > 300
    json.dumps(found)

    again = measured([few[1], few[3]], tmp_path / "b")["rows"]
    for row, other in zip((found["rows"][1], found["rows"][3]), again, strict=True):
        assert row["bound"] == other["bound"]
        assert row["quality"] == other["quality"]
        assert [line["cuts"] for line in row["continuations"]] == [line["cuts"] for line in other["continuations"]]
    untimed = [{name: value for name, value in row.items() if name != "seconds_for_64"} for row in found["rows"]]
    page = results(found | {"device": "cuda", "trained_on": "a card", "rows": untimed}, SETTINGS, "it", "results")
    assert "of what had been trained on a card" in page
    assert page.count("not timed") == len(plan.families("mnist-rows"))


def test_what_is_measured_is_kept_until_recipe_or_settings_change(
    planned: list[plan.Experiment], tmp_path: Path
) -> None:
    experiment = next(e for e in planned if e.ablation)
    measure.train_one(experiment, tmp_path, "cpu")
    first = measure.measure_one(experiment, tmp_path, SETTINGS)
    kept = tmp_path / experiment.key / "figures.json"
    kept.write_text(json.dumps(first | {"parameters": -1}))
    assert measure.measure_one(experiment, tmp_path, SETTINGS)["parameters"] == -1
    other = measure.measure_one(experiment, tmp_path, replace(SETTINGS, seed=1))
    assert other["parameters"] == first["parameters"]
    assert other["bound"] != first["bound"]


def test_jobs_run_beside_each_other_and_a_failure_is_named() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100)
    jobs = [("made a root", math.sqrt, (16.0,)), ("made another", math.sqrt, (9.0,))]
    assert in_parallel(jobs, 2, console) == {"made a root": 4.0, "made another": 3.0}
    with pytest.raises(ValueError, match="math domain error"):
        in_parallel([("slept", time.sleep, (600.0,)), ("made what there is not", math.sqrt, (-1.0,))], 2, console)
    assert "failed where it should have made what there is not" in out.getvalue()
