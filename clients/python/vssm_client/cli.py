"""The `vssm-client` command: what `Client` does, for the shell. Results go to stdout, messages to stderr."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from vssm_client.cli_files import read_prefix
from vssm_client.cli_generate import Wanted, run
from vssm_client.cli_shared import ApiKey, AsJson, Retries, SessionId, Timeout, Url, connected, out
from vssm_client.connection import DEFAULT_URL, RETRIES, TIMEOUT
from vssm_client.options import Options

app = typer.Typer(
    name="vssm-client",
    help="Ask a VSSM generation server: images, text and series; from nothing, after a prefix, or in a session.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.command()
def generate(
    model: Annotated[str | None, typer.Option(help="Name of the model; by default the server's own choice.")] = None,
    num_samples: Annotated[int | None, typer.Option(help="Independent sequences; 1 if absent.", min=1)] = None,
    length: Annotated[
        int | None, typer.Option(help="New steps; by default up to the model's own length.", min=0)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same values; drawn when absent.")] = None,
    prefix: Annotated[
        str | None, typer.Option(metavar="FILE", help="Go on after these steps: .npy, .json or text; - is the input.")
    ] = None,
    num_particles: Annotated[int | None, typer.Option(help="Latent paths of each sample through the prefix.")] = None,
    max_passes: Annotated[
        int | None, typer.Option(help="Of a model in exact mode: stop after so many passes; may be approximate.", min=1)
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0 takes the most likely values.")] = None,
    mean: Annotated[bool, typer.Option("--mean", help="Means instead of values drawn.")] = False,
    quantile: Annotated[
        list[float] | None, typer.Option(help="A quantile over the samples of a series; repeatable, increasing.")
    ] = None,
    session: Annotated[str | None, typer.Option(metavar="ID", help="Go on with this session.")] = None,
    save: Annotated[bool, typer.Option("--save", help="Keep the end as a session.")] = False,
    ttl_seconds: Annotated[int | None, typer.Option(help="How long the session is kept.", min=1)] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write .png, .npy, .json or .txt instead of printing.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Show what is made as it is made.")] = False,
    json: AsJson = False,
    url: Url = DEFAULT_URL,
    timeout: Timeout = TIMEOUT,
    retries: Retries = RETRIES,
    api_key: ApiKey = None,
) -> None:
    """Generate sequences, complete a prefix, or resume a session.

    Prints the text of models of text and JSON for others; --out writes a file in the form that its name says.

    Examples:

      vssm-client generate --model mnist --num-samples 16 --out digits.png

      vssm-client generate --model mnist --length 14 --seed 7 --save

      vssm-client generate --session sess_0123456789abcdef0123456789abcdef --out rest.npy

      vssm-client generate --model shakespeare --prefix start.txt --length 500 --stream
    """
    with connected(url, timeout, retries, api_key) as client:
        options: Options = {
            "model": model,
            "num_samples": num_samples,
            "length": length,
            "seed": seed,
            "prefix": None if prefix is None else read_prefix(prefix),
            "num_particles": num_particles,
            "max_passes": max_passes,
            "temperature": temperature,
            "output": "mean" if mean else None,
            "quantiles": quantile or None,
            "session_id": session,
            "save": save or None,
            "ttl_seconds": ttl_seconds,
        }
        run(client, options, Wanted(out_file, stream, json))


@app.command()
def models(
    json: AsJson = False,
    url: Url = DEFAULT_URL,
    timeout: Timeout = TIMEOUT,
    retries: Retries = RETRIES,
    api_key: ApiKey = None,
) -> None:
    """List the models that the server knows.

    Example:

      vssm-client models --url http://127.0.0.1:8000
    """
    with connected(url, timeout, retries, api_key) as client:
        known = client.models()
        if json:
            print("[" + ",".join(model.model_dump_json(exclude_none=True) for model in known) + "]")
            return
        table = Table("name", "status", "kind", "steps", "values", "prefix", "description", box=None)
        for each in known:
            cells = (each.name, each.status, each.modality, each.length, each.size, each.takes_prefix)
            table.add_row(*("" if cell is None else str(cell) for cell in cells), each.error or each.description)
        out.print(table)


@app.command()
def session(
    session_id: SessionId,
    url: Url = DEFAULT_URL,
    timeout: Timeout = TIMEOUT,
    retries: Retries = RETRIES,
    api_key: ApiKey = None,
) -> None:
    """Show what is saved under an id, as JSON.

    Example:

      vssm-client session sess_0123456789abcdef0123456789abcdef
    """
    with connected(url, timeout, retries, api_key) as client:
        print(client.session_info(session_id).model_dump_json(indent=2))


@app.command()
def fork(
    session_id: SessionId,
    ttl_seconds: Annotated[int | None, typer.Option(help="How long the copy is kept.", min=1)] = None,
    url: Url = DEFAULT_URL,
    timeout: Timeout = TIMEOUT,
    retries: Retries = RETRIES,
    api_key: ApiKey = None,
) -> None:
    """Copy a session and print the id of the copy; both go on by themselves.

    Example:

      vssm-client fork sess_0123456789abcdef0123456789abcdef
    """
    with connected(url, timeout, retries, api_key) as client:
        print(client.fork(session_id, ttl_seconds).id)


@app.command()
def delete(
    session_id: SessionId,
    url: Url = DEFAULT_URL,
    timeout: Timeout = TIMEOUT,
    retries: Retries = RETRIES,
    api_key: ApiKey = None,
) -> None:
    """Forget a session.

    Example:

      vssm-client delete sess_0123456789abcdef0123456789abcdef
    """
    with connected(url, timeout, retries, api_key) as client:
        client.delete(session_id)
