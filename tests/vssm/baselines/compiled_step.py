"""Generates with the eager and the compiled step in a process of its own, since compiling changes torch for all others.

Prints which part of the values is the same, as JSON. Argument: the family.
"""

import json
import sys

from tests.vssm.baselines.rivals import rival
from vssm.baselines.generate import generate


def main(family: str) -> None:
    """See above."""
    model = rival(family, layers=1)
    eager, compiled = (generate(model, 2, 70, 3, None, 1.0, None, way) for way in ("eager", "compiled"))
    print(json.dumps({"same": float((eager.values == compiled.values).mean()), "position": compiled.cache.position}))


if __name__ == "__main__":
    main(sys.argv[1])
