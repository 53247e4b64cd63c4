"""All decoders in a process of their own, so that one that dies of an input, or hangs, is seen and its input known."""

import gc
import json
import logging
import math
import mmap
import multiprocessing
import struct
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz.decoders import Outcome, Target, fuzz, input_of, report

HUNG_SECONDS = 60.0  # of the processor, or ten times as long by the clock, without a further input
_PLACE = struct.Struct("<iq")  # number of the target, number of the input


def targets(folder: Path) -> list[Target]:
    """Every decoder there is; imported here, as they need torch, and who only watches does not."""
    from tests.fuzz import files, stored, wire

    return [*stored.targets(), *files.targets(folder), *wire.targets()]


def quiet() -> None:
    """What is refused a hundred thousand times is not logged so often."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")


def fuzz_apart(inputs: int, seed: int, failures: Path, make: Callable[[Path], list[Target]] = targets) -> list[Outcome]:
    """So many inputs, shared out among the targets that `make` makes, given a folder for their files."""
    with tempfile.TemporaryDirectory(prefix="vssm-fuzz-") as name:
        folder = Path(name)
        box, done = folder / "place", folder / "outcomes"
        box.write_bytes(_PLACE.pack(-1, 0))
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_work, args=(inputs, seed, failures, make, folder))
        process.start()
        hung = _watch(process, box)
        outcomes = (
            [Outcome(**fields) for fields in map(json.loads, done.read_text().splitlines())] if done.exists() else []
        )
        if process.exitcode != 0 or hung:
            what = f"hung for {HUNG_SECONDS:g} s" if hung else f"ended with {process.exitcode}"
            outcomes.append(_died(make(folder), seed, failures, _PLACE.unpack(box.read_bytes()), what))
    return outcomes


def _work(inputs: int, seed: int, failures: Path, make: Callable[[Path], list[Target]], folder: Path) -> None:
    quiet()
    chosen = make(folder)
    gc.collect()
    gc.freeze()  # what is there now is not looked through again by whoever measures memory
    whole = sum(target.share for target in chosen)
    with open(folder / "place", "r+b") as file, mmap.mmap(file.fileno(), _PLACE.size) as place:
        for index, target in enumerate(chosen):

            def tell(number: int, index: int = index) -> None:
                _PLACE.pack_into(place, 0, index, number)

            count = math.ceil(inputs * target.share / whole)
            outcome = fuzz(target, count, seed, failures, tell)
            with open(folder / "outcomes", "a") as done:
                done.write(json.dumps(asdict(outcome)) + "\n")


def _watch(process: Any, box: Path) -> bool:
    """Until it ends; killed, and True, when it goes on no more."""
    seen, since, used = b"", 0.0, 0.0
    while process.is_alive():
        process.join(0.5)
        if (now := box.read_bytes()) != seen:
            seen, since, used = now, time.monotonic(), _used(process.pid)
        elif _used(process.pid) - used > HUNG_SECONDS or time.monotonic() - since > 10 * HUNG_SECONDS:
            process.kill()
            process.join()
            return True
    return False


def _used(pid: int) -> float:
    """Seconds of the processor that a process has taken; 0 when it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _died(made: list[Target], seed: int, failures: Path, place: tuple[int, int], what: str) -> Outcome:
    index, number = place
    if index < 0:
        return Outcome("all", failures=[f"the process {what} before the first input"])
    target = made[index]
    found = report(target, seed, number, input_of(target, seed, number), f"the process {what}", failures)
    return Outcome(target.name, inputs=number + 1, failed=1, failures=[found])


def again(path: Path) -> None:
    """Decodes the bytes of a failure once more: raises what it raised, or says that it is mended."""
    with tempfile.TemporaryDirectory(prefix="vssm-fuzz-") as name:
        target = next(target for target in targets(Path(name)) if path.name.startswith(f"{target.name}-"))
        try:
            target.decode(path.read_bytes())
        except target.refusals as error:
            print(f"refused, as it should be: {error}")
        else:
            print("decoded")
