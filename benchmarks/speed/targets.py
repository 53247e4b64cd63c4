"""What must hold: targets of the project for the figures that this benchmark measures, and whether they are met."""

from __future__ import annotations

from typing import Any

RIVALS = ("transformer", "mamba")
Row = dict[str, Any]


def seconds(row: Row, name: str) -> float | None:
    """Of a model in a row of the grid, however it was found."""
    value = row.get(name, {}).get("seconds")
    return None if value is None else float(value)


def faster_rival(row: Row) -> str | None:
    """The rival that took less time, of those with a figure."""
    known = {name: s for name in RIVALS if (s := seconds(row, name)) is not None}
    return min(known, key=lambda name: known[name]) if known else None


def compare(row: Row) -> Row:
    """The row with the time of the faster rival in multiples of the VSSM's; needs both."""
    rival, own = faster_rival(row), seconds(row, "vssm")
    if rival is None or own is None:
        return row
    theirs = seconds(row, rival)
    assert theirs is not None
    how = {row[rival]["how"], row["vssm"]["how"]}
    return row | {
        "faster_rival": rival,
        "rival_over_vssm": theirs / own,
        "ratio_is": "measured" if how == {"measured"} else "extrapolated",
    }


def must_hold(report: Row) -> list[Row]:
    """One row a target: figure, target, measured value, whether it holds; None where nothing was measured."""
    cuda = report["device"] != "cpu"
    grid = {(row["samples"], row["length"]): row for row in report["passes"]}
    whole = 512 if cuda else 64
    return [
        _least("recurrence, large shapes: fraction of a copy", _slowest(report["recurrence"]), 0.7 if cuda else 0.6),
        _least(
            f"whole pass, batch {whole} x 784: fraction of the matmul limit",
            grid.get((whole, 784), {}).get("vssm", {}).get("of_matmul"),
            0.4 if cuda else 0.6,
        ),
        _least("batch 1 x 784: faster rival / VSSM, time", _ratio(grid, 1, 784), 40 if cuda else 25),
        *([_most("batch 1 x 784: VSSM, ms", _milliseconds(grid, 1, 784), 1.0)] if cuda else []),
        _least("batch 1 x 3072: faster rival / VSSM, time", _ratio(grid, 1, 3072), 150 if cuda else 25),
        _least("batch 64 x 784: VSSM / faster rival, sequences/s", _ratio(grid, 64, 784), 40 if cuda else 2),
        *_resume(report["resumes"]),
        _most(
            "saved state (mnist) / Transformer's cache at 784 steps",
            report["kept"].get("shipped_over_transformer"),
            0.01,
        ),
    ]


def _least(figure: str, measured: float | None, target: float) -> Row:
    held = None if measured is None else measured >= target
    return {"figure": figure, "target": f">= {target:g}", "measured": measured, "holds": held}


def _most(figure: str, measured: float | None, target: float) -> Row:
    held = None if measured is None else measured <= target
    return {"figure": figure, "target": f"<= {target:g}", "measured": measured, "holds": held}


def _resume(rows: list[Row]) -> list[Row]:
    measured = next((row["late_over_early"] for row in rows if row["model"] == "vssm"), None)
    held = None if measured is None else 0.9 <= measured <= 1.1
    figure = "VSSM: resuming after 10^6 / after 10^3 steps"
    return [{"figure": figure, "target": "0.9 to 1.1", "measured": measured, "holds": held}]


def _slowest(rows: list[Row]) -> float | None:
    """Of all shapes: of the generation kernel on a CPU, of the one kernel that there is on CUDA."""
    return min(((row.get("generation") or row["fixed"])["of_copy"] for row in rows), default=None)


def _ratio(grid: dict[tuple[int, int], Row], samples: int, length: int) -> float | None:
    """Only of what was measured."""
    row = grid.get((samples, length), {})
    return row["rival_over_vssm"] if row.get("ratio_is") == "measured" else None


def _milliseconds(grid: dict[tuple[int, int], Row], samples: int, length: int) -> float | None:
    value = seconds(grid.get((samples, length), {}), "vssm")
    return None if value is None else 1e3 * value
