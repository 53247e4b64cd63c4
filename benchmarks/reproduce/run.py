"""All trainings and measurements, as many at a time as there are cores, the longest first; then the timings, alone.

What is done already is not done again, so the command goes on where it was stopped. A process has one thread: another
number would change the last bits of a training.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.machine import machine
from benchmarks.reproduce.measure import (
    Settings,
    measure_one,
    of_real_images,
    records,
    seconds_for_64,
    train_classifier,
    train_one,
)
from benchmarks.reproduce.plan import Experiment
from vssm import data
from vssm.quality.classifier import CLASSIFIERS

Job = tuple[str, Callable[..., Any], tuple[Any, ...]]


def run(
    experiments: list[Experiment],
    folder: Path,
    settings: Settings,
    processes: int,
    console: Console,
    timings: bool = True,
    trained: bool = False,
) -> dict[str, Any]:
    """Train (unless `trained` already), measure and, with `timings`, time everything; for the report, as JSON."""
    for name in {experiment.recipe.data.dataset for experiment in experiments}:
        data.load(name, "train")  # downloads what is missing, once
    images = [name for name in CLASSIFIERS if any(name == e.recipe.data.dataset for e in experiments)]
    trainings = sorted(experiments, key=_work, reverse=True)
    first: list[Job] = (
        [] if trained else [(f"trained {e.key}", train_one, (e, folder, settings.device)) for e in trainings]
    )
    first += [(f"trained the classifier of {name}", train_classifier, (name, folder)) for name in images]
    second: list[Job] = [(f"measured {e.key}", measure_one, (e, folder, settings)) for e in trainings]
    second += [(f"measured real images of {name}", of_real_images, (name, folder, settings)) for name in images]
    in_parallel(first, processes, console)
    found = in_parallel(second, processes, console)
    rows = []
    for experiment in experiments:
        row = {"task": experiment.task, "name": experiment.name, "ablation": experiment.ablation}
        row |= {"training": experiment.recipe.training.model_dump(), "records": records(experiment, folder)}
        row |= found[f"measured {experiment.key}"]
        if timings and not experiment.ablation:
            row["seconds_for_64"] = _timed(experiment, folder, settings)
            console.print(f"timed {experiment.key}", style="dim")
        rows.append(row)
    real = {name: found[f"measured real images of {name}"] for name in images}
    about = machine()
    if settings.device == "cuda":
        about["gpu"] = torch.cuda.get_device_name()
    return {"machine": about, "device": settings.device, "rows": rows, "real": real}


def _work(experiment: Experiment) -> float:
    """How long a training takes, roughly: values that go through layers."""
    training, model = experiment.recipe.training, experiment.recipe.model
    rival = {"vssm": 1.0, "transformer": 3.0, "mamba": 3.0}[model.family]
    return training.steps * training.batch_size * model.length * rival


def in_parallel(jobs: list[Job], processes: int, console: Console) -> dict[str, Any]:
    """Results by description; after a failure nothing more begins, and what is running is told to stop (and saves)."""
    context = multiprocessing.get_context("spawn")
    started = time.monotonic()
    results: dict[str, Any] = {}
    with ProcessPoolExecutor(processes, context, end_with_parent, (os.getpid(),), max_tasks_per_child=1) as pool:
        waiting: dict[Future[Any], str] = {pool.submit(job, *given): text for text, job, given in jobs}
        try:
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    text = waiting.pop(future)
                    if future.exception() is not None:
                        console.print(f"failed where it should have {text}", style="red")
                    results[text] = future.result()
                    minutes = (time.monotonic() - started) / 60
                    console.print(f"{minutes:6.1f} min  {text}, {len(waiting)} left", highlight=False)
        except BaseException:
            _stop(waiting)
            raise
    return results


def _stop(waiting: Iterable[Future[Any]]) -> None:
    """Cancel what has not begun, and tell the process of whatever has, once; until nothing runs."""
    told: set[int | None] = set()
    for future in waiting:
        future.cancel()
    while not all(future.done() for future in waiting):
        for process in multiprocessing.active_children():
            if process.pid not in told:
                process.terminate()
                told.add(process.pid)
        time.sleep(0.1)


def end_with_parent(parent: int) -> None:
    """Have this process told to stop (its training saves its state) when its parent has died, however it died."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _timed(experiment: Experiment, folder: Path, settings: Settings) -> float:
    """`seconds_for_64` in a process of its own, kept with the checkpoint that it is of."""
    kept, best = folder / experiment.key / "seconds.json", folder / experiment.key / "best" / "model.safetensors"
    if kept.exists() and (found := json.loads(kept.read_text()))["written"] == os.stat(best).st_mtime_ns:
        return float(found["seconds"])
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        seconds = pool.submit(seconds_for_64, experiment, folder, settings.device).result()
    kept.write_text(json.dumps({"written": os.stat(best).st_mtime_ns, "seconds": seconds}))
    return seconds
