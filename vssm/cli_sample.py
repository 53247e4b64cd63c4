"""`vssm sample`: sequences as pictures or numbers, with a bar while they are made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from vssm.cli_shared import Device, Model, check_device, messages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vssm.model import VSSM

app = typer.Typer()
_STEPS_AT_ONCE = 1 << 15  # of all samples together: a second or so, so that the bar moves


@app.command()
def sample(
    model: Model,
    out: Annotated[Path, typer.Option(help="File to write: .png (a grid of pictures) or .npy (the values).")],
    num_samples: Annotated[int, typer.Option(min=1, help="Number of independent sequences.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same samples.")] = 0,
    length: Annotated[
        int | None, typer.Option(min=1, max=2**31, help="New steps; by default up to the model's own length.")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, help="Of the observations; 0 = most likely value.")] = 1.0,
    mean: Annotated[bool, typer.Option("--mean", help="Expected values instead of samples.")] = False,
    prefix: Annotated[
        Path | None, typer.Option(help="A .npy file of observed steps (steps, size) to continue.")
    ] = None,
    scale: Annotated[int, typer.Option(min=1, max=32, help="Size of a pixel in the PNG.")] = 2,
    device: Device = "cpu",
) -> None:
    """Generate sequences and write them as pictures or numbers.

    Examples:

      vssm sample mnist --out digits.png

      vssm sample mnist --out values.npy --num-samples 1000 --seed 7

      vssm sample mnist --prefix top.npy --out completed.png
    """
    with messages():
        if out.suffix not in (".png", ".npy"):
            raise typer.BadParameter(f"--out {out}: the name must end in .png or .npy")
        observed = None if prefix is None else _read_array(prefix)
        import vssm

        check_device(device)
        loaded = vssm.load(model, device=device)
        begun: dict[str, Any] = {"num_samples": num_samples, "seed": seed, "prefix": observed, "length": length}
        chosen: dict[str, Any] = {"temperature": temperature, "output": "mean" if mean else "sample", "encode": False}
        try:
            values = _generate(loaded, **begun, **chosen)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(out, values, observed, loaded, scale)
        print(out)


def _generate(model: VSSM, **arguments: Any) -> NDArray[np.generic]:
    """`VSSM.generate` in chunks: the same values, with a bar."""
    import numpy as np

    from vssm.bars import counting_bar

    count, prefix = arguments["num_samples"], arguments["prefix"]
    total = arguments["length"] or model.config.length - (0 if prefix is None else len(prefix))
    made: list[NDArray[np.generic]] = []
    with counting_bar(Console(stderr=True), "steps") as bar:
        task = bar.add_task("sampling", total=total)
        for chunk in model.stream(chunk_steps=max(1, _STEPS_AT_ONCE // count), **arguments):
            made.append(chunk.values)
            bar.update(task, completed=sum(values.shape[1] for values in made))
    return np.concatenate(made, axis=1)


def _read_array(path: Path) -> NDArray[np.generic]:
    import numpy as np

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise typer.BadParameter(f"--prefix {path} is not a .npy file of numbers, as numpy.save writes it") from error
    if not isinstance(array, np.ndarray):
        raise typer.BadParameter(f"--prefix {path} must be a .npy file, not .npz")
    return array


def _write(out: Path, values: NDArray[np.generic], prefix: NDArray[np.generic] | None, model: VSSM, scale: int) -> None:
    """Write new values as .npy, or whole pictures (prefix and new values) as .png."""
    import numpy as np

    from vssm.pictures import as_images, grid, png

    if out.suffix == ".npy":
        np.save(out, values)
        return
    image = model.config.image
    white = model.observation.describe()["high"]
    if image is None or white is None:
        raise typer.BadParameter(f"--out {out}: this model does not make pictures, choose .npy")
    if prefix is not None:
        before = np.broadcast_to(model.check_observed(prefix), (len(values), *prefix.shape))
        values = np.concatenate([before, values], axis=1)
    try:
        pictures = as_images(values, image.height, image.width, image.channels, white)
    except ValueError as error:
        raise typer.BadParameter(f"--out {out}: {error}; leave --length out, or choose .npy") from error
    out.write_bytes(png(grid(pictures), scale))
