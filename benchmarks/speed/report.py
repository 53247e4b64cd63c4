"""The report as tables. `~` marks what was extrapolated, a dash what was skipped; why is said below the table."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.speed.contenders import NAMES
from benchmarks.speed.targets import seconds

Row = dict[str, Any]


def show(report: Row, console: Console) -> None:
    """All of it."""
    names = [name for name in NAMES if name in report["models"]]
    limits = report["limits"]
    console.print(
        f"{report['machine']['cpu']}, {report['machine']['threads']} threads, {report['device']}: products "
        f"{limits['flops_per_second'] / 1e9:,.1f} GFLOP/s, copy {limits['bytes_per_second'] / 1e9:,.1f} GB/s"
    )
    _passes(report["passes"], names, console)
    _fractions(report["passes"], names, console)
    _sessions(report, names, console)
    _recurrence(report["recurrence"], console)
    _must_hold(report["must_hold"], console)


def time(value: float | None) -> str:
    """Seconds as people read them."""
    if value is None:
        return "-"
    if value < 1.0:
        return f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.0f} us"
    return f"{value:,.2f} s" if value < 100 else f"{value:,.0f} s"


def _mark(figures: Row) -> str:
    return "~" if figures.get("how") == "extrapolated" else ""


def _passes(rows: list[Row], names: list[str], console: Console) -> None:
    table = Table("batch", "length", title="whole sequences")
    for name in names:
        table.add_column(name, justify="right")
        table.add_column("/s", justify="right")
    table.add_column("faster rival / VSSM", justify="right")
    notes = []
    for row in rows:
        cells = []
        for name in names:
            took, mark = seconds(row, name), _mark(row[name])
            cells += [mark + time(took), "-" if took is None else f"{mark}{row['samples'] / took:,.3g}"]
            if took is None:
                notes.append(f"{name}, {row['samples']} x {row['length']}: {row[name]['how']}")
        ratio = row.get("rival_over_vssm")
        mark = "~" if row.get("ratio_is") == "extrapolated" else ""
        table.add_row(str(row["samples"]), str(row["length"]), *cells, "-" if ratio is None else f"{mark}{ratio:.1f}")
    console.print(table, *notes, sep="\n")


def _fractions(rows: list[Row], names: list[str], console: Console) -> None:
    table = Table(
        "batch", "length", title="fraction of the limit: products, bytes (the nearer one is the limit); memory"
    )
    for name in names:
        table.add_column(name, justify="right")
        table.add_column("peak", justify="right")
    for row in rows:
        cells = []
        for name in names:
            figures = row[name]
            known = "of_matmul" in figures
            cells.append(f"{figures['of_matmul']:.3f}, {figures['of_copy']:.3f}" if known else "-")
            peak = figures.get("peak_bytes")
            cells.append("not measured" if peak is None else f"{peak / 2**20:,.0f} MiB")
        table.add_row(str(row["samples"]), str(row["length"]), *cells)
    console.print(table)


def _sessions(report: Row, names: list[str], console: Console) -> None:
    table = Table("what", *names, title="sessions")
    for row in report["first_chunks"]:
        table.add_row(f"first {row['steps']} steps, batch {row['samples']}", *(time(seconds(row, n)) for n in names))
    for row in report["prefixes"]:
        cells = (time(seconds(row, n)) if seconds(row, n) is not None else row[n]["how"] for n in names)
        table.add_row(f"prefix of {row['steps']:,} steps", *cells)
    resumes = {row["model"]: row for row in report["resumes"]}
    for when in ("early", "late"):
        cells = (f"{time(resumes[n][f'{when}_seconds'])} after {resumes[n][when]:,}" for n in names)
        table.add_row(f"64 more steps, {when}", *cells)
    table.add_row("late / early", *(f"{resumes[n]['late_over_early']:.3f}" for n in names))
    for row in report["kept"]["rows"]:
        table.add_row(f"bytes kept after {row['position']:,}", *(f"{row[n]:,}" for n in names))
    console.print(table, f"bytes kept by the shipped mnist: {report['kept']['shipped_mnist']:,}", sep="\n")


def _recurrence(rows: list[Row], console: Console) -> None:
    kinds = [kind for kind in ("generation", "gated", "fixed") if kind in rows[0]] if rows else []
    table = Table("(B, T, N)", *kinds, title="recurrence: time (fraction of a copy of the same bytes)")
    for row in rows:
        cells = (f"{time(row[kind]['seconds'])} ({row[kind]['of_copy']:.2f})" for kind in kinds)
        table.add_row(str(tuple(row["shape"])), *cells)
    console.print(table)


def _must_hold(rows: list[Row], console: Console) -> None:
    table = Table("figure", "target", "measured", "", title="must hold")
    for row in rows:
        measured = "-" if row["measured"] is None else f"{row['measured']:.4g}"
        word = {True: "[green]ok", False: "[red]missed", None: "not measured"}[row["holds"]]
        table.add_row(row["figure"], row["target"], measured, word)
    console.print(table)
