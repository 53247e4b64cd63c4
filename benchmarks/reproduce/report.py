"""docs/results.md: tables with honest captions, from what was measured. Nothing here computes a figure."""

from __future__ import annotations

from typing import Any

from benchmarks.prefix_quality import table as continuations_table
from benchmarks.reproduce.measure import Settings
from benchmarks.reproduce.plan import AUTOREGRESSIVE, TASKS
from benchmarks.reproduce.units import unit
from vssm.quality.classifier import CLASSIFIERS

Row = dict[str, Any]

_START = """# Results

Variational state space models beside a Transformer and a Mamba: as many parameters (within 5 %), the same examples in
the same batches, the same schedule. Made by `{command}` on {machine}.
{again}
These are trainings of a few minutes, to compare families; how good a model can get is in the cards of the shipped
models.

How to read the tables:

- **exact** is -log p(x). **K = {k}** and **-ELBO** are upper bounds of it (importance-weighted with {k} samples, or
  one): the true figure of a VSSM is lower. ± is the standard error over the test examples. Lower is better.
- **exact mode** is a VSSM without latents whose decoder also reads earlier values; a few parallel passes make a sample
  (28 for the 784 pixels of a digit), value for value the one that single steps would make.
- **FD** (Fréchet distance), **precision**, **recall** and **entropy** (of the mean class distribution, nats) compare
  {samples:,} samples with as many test images in the features of a small classifier trained for it; they are not
  comparable with figures in other features. A lower FD is better; the row of real training images is what a perfect
  model gets.
- **64 samples** is the time to generate as many sequences{cores_note}, **training** the minutes that the same number of
  steps took{steps_note}.

![validation while training]({pictures}/curves.png)
"""


def results(found: dict[str, Any], settings: Settings, command: str, pictures: str) -> str:
    """The whole page; `pictures` is the folder of the pictures as seen from it."""
    about = found["machine"]
    cores = f"{about['cpu']}, {about['cores']} cores, PyTorch {about['torch']}"
    on_cpu, elsewhere = found["device"] == "cpu", found.get("trained_on")
    where = cores if on_cpu else f"{about['gpu']}; {cores}" if "gpu" in about else cores
    if elsewhere:
        where = f"{where}, of what had been trained on {elsewhere}"
    again = (
        "All figures but seconds and minutes come out again, to the last printed digit, on the same kind of machine."
    )
    parts = [
        _START.format(
            command=command,
            machine=where,
            k=settings.num_importance_samples,
            samples=settings.samples,
            again=again if on_cpu else "Trained in TF32, whose last bits can differ from run to run.",
            cores_note=" with all cores" if on_cpu else "",
            steps_note=" on one core" if on_cpu else ", while other trainings shared the card",
            pictures=pictures,
        )
    ]
    for task, title in TASKS.items():
        rows = [row for row in found["rows"] if row["task"] == task]
        if rows:
            parts.append(_task(task, title, rows, found["real"], settings, pictures))
    return "\n".join(parts)


def _task(task: str, title: str, rows: list[Row], real: Row, settings: Settings, pictures: str) -> str:
    families, k = [row for row in rows if not row["ablation"]], settings.num_importance_samples
    training, dataset = families[0]["training"], task.split("-")[0]
    seen = training["steps"] * training["batch_size"]
    lines = [
        f"## {title}\n",
        f"{training['steps']:,} steps of {training['batch_size']}, {seen:,} sequences seen; measured on "
        f"{families[0]['bound']['examples']:,} test sequences, in {unit(task).name}.\n",
    ]
    of_images = "quality" in families[0]
    head = ["model", "parameters", "figure", f"exact or K = {k}", "-ELBO"]
    head += ["FD", "precision", "recall", "entropy"] if of_images else []
    lines += _table([*head, "64 samples, s", "training, min"], [_family(task, row, of_images) for row in families])
    if of_images:
        lines[-1:] = [_real(real[dataset]), ""]
        accuracy = real[dataset]["classifier_accuracy"]
        lines.append(f"The classifier of {dataset} ({CLASSIFIERS[dataset].steps} steps) gets {accuracy:.1%} right.\n")
        lines.append(f"![samples]({pictures}/{task}.png)\n")
    if "text" in families[0]:
        lines += [f"{row['name']}:\n\n```text\n{_printable(row['text'])}\n```\n" for row in families]
    lines += _ablations(task, rows, k)
    lines += _continuations(rows, settings)
    return "\n".join(lines)


def _family(task: str, row: Row, of_images: bool) -> list[str]:
    bound, scale = row["bound"], unit(task).scale(row["bound"]["dimensions"])
    elbo = "" if bound["exact"] else _figure(bound["negative_elbo"], scale, task)
    cells = [row["name"], f"{row['parameters']:,}", "exact" if bound["exact"] else "bound"]
    cells += [_figure(bound["importance_weighted"], scale, task), elbo]
    if of_images:
        cells += _quality(row["quality"])
    minutes = row["records"][-1]["seconds"] / 60
    seconds = f"{row['seconds_for_64']:.2g}" if "seconds_for_64" in row else "not timed"
    return [*cells, seconds, f"{minutes:.1f}"]


def _quality(quality: Row) -> list[str]:
    shares = [f"{quality[name]:.2f}" for name in ("precision", "recall", "class_entropy")]
    return [f"{quality['frechet_distance']:.1f}", *shares]


def _real(quality: Row) -> str:
    return _line(["real training images", "", "", "", "", *_quality(quality), "", ""])


def _ablations(task: str, rows: list[Row], k: int) -> list[str]:
    changed = [row for row in rows if row["ablation"]]
    if not changed:
        return []
    base = next(row for row in rows if row["name"] == AUTOREGRESSIVE)
    cells = []
    for row in [base, *changed]:
        scale = unit(task).scale(row["bound"]["dimensions"])
        bounds = [_figure(row["bound"][name], scale, task) for name in ("importance_weighted", "negative_elbo")]
        cells.append([row["name"], f"{row['parameters']:,}", *bounds])
    head = ["the autoregressive VSSM with one change", "parameters", f"K = {k}", "-ELBO"]
    return ["### What the parts are worth\n", *_table(head, cells)]


def _continuations(rows: list[Row], settings: Settings) -> list[str]:
    found = [line for row in rows for line in row.get("continuations", [])]
    if not found:
        return []
    text = (
        f"The first {settings.continued} test digits, cut after 7, 14 and 21 rows. For a VSSM an upper bound of the "
        "negative log probability of the rest, under what generation draws from (S = "
        f"{settings.num_importance_samples} paths), without and with `num_particles`; for the rivals it is exact.\n"
    )
    return ["### Continuing a prefix\n", text, continuations_table(found), ""]


def _figure(bound: Row, scale: float, task: str) -> str:
    digits = 3 if unit(task).of_a_value else 2
    return f"{scale * bound['nats']:.{digits}f} ± {scale * bound['standard_error']:.{digits}f}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text).strip("\n")


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *[_line(row) for row in rows], ""]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
