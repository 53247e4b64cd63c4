"""The command `vssm-client`, also as `python -m vssm_client`."""

import importlib.util
import sys


def main() -> None:
    """Runs the command line, if what it needs is installed."""
    if missing := [name for name in ("typer", "rich") if importlib.util.find_spec(name) is None]:
        sys.exit(f'error: the command needs {" and ".join(missing)}: pip install "vssm-client[cli]"')
    from vssm_client.cli import app

    app(prog_name="vssm-client")


if __name__ == "__main__":
    main()
