"""The figures of the explanation, from the real library: python -m docs.figures.draw

They need the shipped models, and the series etth1 (`vssm data etth1`).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from numpy.typing import NDArray

import vssm
from vssm import data
from vssm.baselines import build
from vssm.baselines.sizes import match
from vssm.noise import Counters, Purpose
from vssm.pictures import as_images
from vssm.solve import Budget

FOLDER = Path(__file__).parent
BLUE, ORANGE, GREY = "#3f51b5", "#ef6c00", "#757575"


def main() -> None:
    plt.rcParams.update({"font.size": 9, "svg.hashsalt": "vssm", "axes.spines.top": False, "axes.spines.right": False})
    digits = vssm.load("mnist")
    draw_pass()
    draw_levels(digits)
    draw_prefixes(digits)
    draw_state(digits)
    draw_forecast(vssm.load("etth1"))
    draw_settling(vssm.load("mnist-exact"))


def draw_settling(model: vssm.VSSM) -> None:
    """A digit as it is guessed after some passes over all of it; what is still wrong in orange."""
    exact = model.generate(seed=3).values.reshape(28, 28)
    _, cells = plt.subplots(1, 7, figsize=(9, 1.7))
    for axes, passes in zip(cells, (1, 2, 4, 6, 8, 12, 16), strict=True):
        window = vssm.Window(model.start(1, 3), 784, budget=Budget(784, passes))
        guess = model.advance([window])[0].values.reshape(28, 28)
        picture = np.repeat(255 * (1 - guess[..., None]), 3, axis=-1).astype(np.uint8)
        picture[guess != exact] = [0xEF, 0x6C, 0x00]
        axes.imshow(picture)
        axes.set_title(f"{passes} pass{'es' * (passes > 1)}\n{int((guess != exact).sum())} wrong", fontsize=8)
        axes.axis("off")
    save("settling.png")


def save(name: str) -> None:
    plt.savefig(FOLDER / name, dpi=110, bbox_inches="tight", metadata={"Date": None} if name.endswith("svg") else None)
    plt.close()


def draw_pass() -> None:
    """Two ways to make five steps: one after another, and at once."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 2.6))
    for axes in (left, right):
        axes.set(xlim=(-0.6, 4.9), ylim=(-0.6, 2.7))
        axes.axis("off")
    left.set_title("a step at a time: x_t is drawn from x_1 ... x_(t-1)")
    right.set_title("a VSSM: all z at once, then one pass")
    for t in range(5):
        node(left, t, 0.4, f"x{t + 1}", BLUE)
        node(right, t, 2.2, f"z{t + 1}", ORANGE)
        node(right, t, 0.0, f"x{t + 1}", BLUE)
        arrow(right, (t, 1.95), (t, 1.4))
        arrow(right, (t, 0.8), (t, 0.25))
        if t < 4:
            left.annotate(
                "", (t + 1, 0.65), (t, 0.65), arrowprops={"arrowstyle": "->", "connectionstyle": "arc3,rad=-0.9"}
            )
    right.add_patch(FancyBboxPatch((-0.25, 0.85), 4.5, 0.5, boxstyle="round,pad=0.04", fc="#e8eaf6", ec=GREY))
    right.text(2, 1.1, "decoder: h_t = a h_(t-1) + b_t", ha="center", va="center")
    arrow(right, (4.3, 1.1), (4.8, 1.1))
    right.text(4.85, 1.1, "h5: kept", va="center", color=GREY)
    save("pass.svg")


def node(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    axes.text(
        x, y, text, ha="center", va="center", color="white", bbox={"boxstyle": "circle", "fc": colour, "ec": colour}
    )


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": GREY})


@torch.no_grad()
def means(model: vssm.VSSM, seeds: list[int]) -> NDArray[np.float32]:
    """Expected pixels of a picture whose level k has the noise of seeds[k], by the parts of the model."""
    d = None
    for k, (level, seed) in enumerate(zip(model.levels, seeds, strict=True)):
        counters = Counters(torch.tensor([seed]), torch.tensor([0]), torch.tensor([0]))
        noise = counters.draw(level.latent.noise_kind, Purpose.PRIOR + k, model.config.length, level.latent.size)
        z = level.latent.prior(d, noise)
        d, _ = level.decode(z, d, level.stack.start(1, z))
    assert d is not None
    return torch.sigmoid(model.observation.params(d)).reshape(model.config.length, -1).numpy()


def draw_levels(model: vssm.VSSM) -> None:
    """What stays when the noise of the lower levels stays."""
    kept = {"nothing kept": 0, "level 1 kept": 1, "levels 1, 2 kept": 2}
    figure, axes = plt.subplots(3, 9, figsize=(9, 3.4))
    for row, (name, count) in zip(axes, kept.items(), strict=True):
        for column, place in enumerate(row):
            place.imshow(means(model, [3 if k < count else 100 * column + 3 for k in range(3)]), cmap="gray")
            place.axis("off")
        row[0].text(-6, 14, name, ha="right", va="center")
    axes[0][0].set_title("seed 3", size=9)
    figure.subplots_adjust(wspace=0.08, hspace=0.08)
    save("levels.png")


def draw_prefixes(model: vssm.VSSM) -> None:
    """A real beginning and what may follow."""
    whole = np.asarray(model.generate(num_samples=4, seed=5).values)
    figure, axes = plt.subplots(4, 9, figsize=(9, 4.3))
    for top, row in zip(whole[:, :12], axes, strict=True):
        rest = model.generate(prefix=top, num_samples=8, seed=0).values
        shown = [np.concatenate([top, np.full((16, 28), 0.5)]), *(np.concatenate([top, r]) for r in rest)]
        for place, picture in zip(row, shown, strict=True):
            place.imshow(as_images(picture[None], 28, 28)[0], cmap="gray", vmin=0, vmax=255)
            place.axhline(11.5, color=ORANGE, linewidth=1)
            place.axis("off")
    axes[0][0].set_title("12 rows", size=9)
    axes[0][4].set_title("eight ways on", size=9)
    figure.subplots_adjust(wspace=0.08, hspace=0.08)
    save("prefix.png")


def draw_state(model: vssm.VSSM) -> None:
    """What must be kept of a sequence to go on."""
    steps = [4**n for n in range(2, 11)]
    size = sum(parameter.numel() for parameter in model.parameters())
    plt.figure(figsize=(5.5, 2.8))
    plt.loglog(steps, [model.start().tensor_bytes] * len(steps), color=ORANGE, marker="o", ms=3, label="VSSM")
    for family, colour in (("transformer", BLUE), ("mamba", GREY)):
        rival = build(match(family, size, model.config))  # type: ignore[arg-type]
        kept = [rival.cache_bytes(n) for n in steps]
        plt.loglog(steps, kept, color=colour, marker="o", ms=3, label=family.capitalize())
    plt.xlabel("steps so far")
    plt.ylabel("bytes to go on from")
    plt.legend(frameon=False)
    save("state.svg")


def draw_forecast(model: vssm.VSSM) -> None:
    """Joint paths and the bands that are read from them."""
    series, channel = data.load_series("etth1", "test").values[1000:1240], 6
    prefix, truth = series[:168], series[168:]
    paths = model.generate(prefix=prefix, num_samples=200, length=72, seed=0).values[..., channel]
    low, middle, high = np.quantile(paths, [0.1, 0.5, 0.9], axis=0)
    past, future = np.arange(-72, 0), np.arange(72)
    plt.figure(figsize=(7, 2.8))
    plt.plot(past, prefix[-72:, channel], color="black", linewidth=1, label="observed")
    plt.plot(future, truth[:, channel], color="black", linewidth=1, linestyle=":", label="what came")
    plt.fill_between(future, low, high, color=BLUE, alpha=0.2, linewidth=0, label="80 % of 200 paths")
    plt.plot(future, middle, color=BLUE, linewidth=1.2, label="median")
    plt.plot(future, paths[:3].T, color=ORANGE, linewidth=0.6)
    plt.xlabel("hours")
    plt.ylabel("oil temperature")
    plt.legend(frameon=False, ncols=2)
    save("forecast.svg")


if __name__ == "__main__":
    main()
