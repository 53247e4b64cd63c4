"""The benchmark of forecasts: the library's models know a season when there is one, and the table is written."""

import json
from pathlib import Path

import numpy as np
import pytest

import vssm
from benchmarks import forecast
from tests.vssm.models import build
from vssm import data
from vssm.forecast import Setting, evaluate, seasonal_naive

RANDOM = np.random.default_rng(0)
DAY = np.sin(np.arange(600)[:, None] * 2 * np.pi / 24) * [1.0, 30.0] + [0.0, 100.0]
SERIES = (DAY + RANDOM.normal(size=(600, 2)) * [0.2, 6.0]).astype(np.float32)
SETTING = Setting(context=96, horizon=12, num_samples=100, season=24, limit=4)


@pytest.mark.parametrize("name", forecast.LIBRARY[:3])
def test_the_library_forecasts_a_daily_series(name: str) -> None:
    chosen, naive = (
        evaluate(forecaster, SERIES[400:], SERIES[:400], SETTING)
        for forecaster in (forecast.library(name, 24), seasonal_naive(24))
    )
    assert chosen.mase < naive.mase
    assert 0.4 < chosen.coverage <= 1.0
    blind = evaluate(forecast.library(name, 1), SERIES[400:], SERIES[:400], SETTING)
    assert blind.crps > chosen.crps  # the control: without its season


def test_paths_depend_on_the_seed_only() -> None:
    context = SERIES[None, :96]
    first, again, other = (forecast.library("AutoETS", 24)(context, 5, 3, seed) for seed in (1, 1, 2))
    assert first.shape == (1, 3, 5, 2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_table_is_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"train": SERIES[:400], "test": SERIES[400:]}
    monkeypatch.setattr(data, "load_series", lambda name, split: data.Series(parts[split], ("a",)))
    vssm.save(build("scaled", length=108), tmp_path / "model")
    out = tmp_path / "results" / "forecast.json"
    options = ["--horizon", "12", "--windows", "3", "--num-samples", "20", "--library", "AutoCES", "--out", str(out)]
    forecast.main([str(tmp_path / "model"), *options])
    written = json.loads(out.read_text())
    assert (written["context"], written["horizon"]) == (96, 12)
    assert list(written["results"]) == [str(tmp_path / "model"), "seasonal-naive", "AutoCES"]
    for figures in written["results"].values():
        assert figures["windows"] == 3
        assert len(figures["crps_by_step"]) == 12
    printed = capsys.readouterr().out
    assert f"{written['results']['AutoCES']['mase']:.3f}" in printed


def test_a_horizon_beyond_the_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load_series", lambda name, split: data.Series(SERIES, ("a",)))
    vssm.save(build("scaled"), tmp_path)
    with pytest.raises(SystemExit, match="at least 1"):
        forecast.main([str(tmp_path), "--horizon", "48"])
