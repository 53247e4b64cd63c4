"""Node, for the tests of the TypeScript client; `make ts-build` installs and builds what they need."""

import os
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "clients/typescript"
DIST = FOLDER / "dist"
BUILT = shutil.which("npm") is not None and (DIST / "index.js").is_file()
NEEDED = "needs Node 20 or newer with npm, and what `make ts` installs and builds"


def npm(*arguments: str, **environment: str) -> str:
    """Runs npm in the package; what it printed."""
    done = subprocess.run(
        ["npm", *arguments], cwd=FOLDER, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
