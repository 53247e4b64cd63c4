"""`vssm pull` and `vssm push`: checkpoints from and to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vssm.cli_shared import Model, messages

app = typer.Typer()
Repository = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub.")]


@app.command()
def pull(
    repository: Repository,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; by default the main branch.")] = None,
    out: Annotated[Path | None, typer.Option(help="Copy the checkpoint into this new folder.")] = None,
) -> None:
    """Download a checkpoint from the Hugging Face hub, and check it.

    It is kept in the hub's cache (HF_HOME); with --out it is copied into a folder of yours.

    Examples:

      vssm pull someone/digits

      vssm pull someone/digits --revision v2 --out checkpoints/digits
    """
    with messages():
        from vssm import hub
        from vssm.checkpoint import check

        hub_id = hub.parse(f"{repository}@{revision}" if revision is not None else repository)
        if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise typer.BadParameter(f"--out {out} is not empty: choose a new folder")
        folder = hub.fetch(hub_id)
        check(folder)
        print(folder if out is None else hub.copy(folder, out))


@app.command()
def push(
    model: Model,
    repository: Repository,
    private: Annotated[bool, typer.Option("--private", help="If the repository is new, only you see it.")] = False,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "",
    license: Annotated[str, typer.Option(help="Licence in the model card, as the hub names it: mit, cc-by-4.0.")] = "",
) -> None:
    """Upload a checkpoint to the Hugging Face hub, in one commit; the repository is made if it is missing.

    Needs a token that may write: run `hf auth login`, or set HF_TOKEN.

    Examples:

      vssm push runs/mnist/best me/digits --private

      vssm push mnist me/digits --message "Shipped model" --license mit
    """
    with messages():
        from vssm import hub

        print(hub.push(model, hub.parse(repository), private=private, message=message, license=license))
