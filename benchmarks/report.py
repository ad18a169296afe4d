"""The rows as lines, as one table, and as JSON.

`python -m benchmarks.report FILE.json` prints the table of a run that was written before; of
several files, where groups were measured one by one, one table with the newest of each row.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Row, shown

_HEADINGS = ("row", "figure", "limit or peer", "ratio", "must be", "")


def line(row: Row) -> str:
    """A row as it comes, with all that there is to say of it."""
    parts = [f"{row.name}: {row.what}", f"    {row.figure}"]
    if row.limit is not None:
        parts.append(f"    beside {row.limit}: {row.limit_is}; ratio {_ratio(row)}")
    parts += [f"    {'reached' if m.reached else 'MISSED'}: {m.text}" for m in row.marks]
    parts += [f"    {note}" for note in row.notes]
    if row.spent is not None:
        parts.append(f"    cores busy: {_by_process(row.spent.cores())}")
        parts.append(f"    us of processor time each: {_by_process(row.spent.each_us())}")
    if row.memory_mib:
        parts.append(f"    MiB (PSS): {_by_process(row.memory_mib)}")
    return "\n".join(parts)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a row, in Markdown; of rows as they are in JSON."""
    cells = [_cells(row) for row in rows]
    widths = [max(len(line[at]) for line in (_HEADINGS, *cells)) for at in range(len(_HEADINGS))]
    lines = [_HEADINGS, tuple("-" * width for width in widths), *cells]
    return "\n".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(one, widths, strict=True)) + " |"
        for one in lines
    )


def write(path: Path, rows: Sequence[Row], about: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"about": about, "rows": [as_json(row) for row in rows]}
    path.write_text(json.dumps(content, indent=2) + "\n")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    limit, marks, share = row["limit"], row["marks"], row["ratio"]
    return (
        row["name"],
        str(_read(row["figure"])),
        "" if limit is None else f"{shown(limit['median'])} {limit['unit']}",
        "" if share is None else shown(share),
        ", ".join(mark["text"] for mark in marks),
        "" if not marks else "ok" if all(mark["reached"] for mark in marks) else "MISSED",
    )


def _read(figure: dict[str, Any]) -> Figure:
    return Figure.of(figure["unit"], figure["values"])


def _ratio(row: Row) -> str:
    return "" if row.ratio is None else shown(row.ratio)


def _by_process(values: dict[str, float]) -> str:
    return ", ".join(f"{title} {shown(value)}" for title, value in values.items() if value)


def as_json(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "what": row.what,
        "figure": _figure(row.figure),
        "limit": None if row.limit is None else _figure(row.limit),
        "limit_is": row.limit_is,
        "ratio": row.ratio,
        "marks": [{"text": mark.text, "reached": mark.reached} for mark in row.marks],
        "notes": list(row.notes),
        "memory_mib": row.memory_mib,
        "cpu_cores": {} if row.spent is None else row.spent.cores(),
        "cpu_us_each": {} if row.spent is None else row.spent.each_us(),
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "unit": figure.unit,
        "median": figure.median,
        "min": min(figure.values),
        "max": max(figure.values),
        "values": list(figure.values),
    }


def main() -> int:
    """The table, and what must be known of the runs that it is of."""
    contents = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    contents.sort(key=lambda content: content["about"]["at"])
    rows = {row["name"]: row for content in contents for row in content["rows"]}
    print(table(list(rows.values())))
    for about in (content["about"] for content in contents):
        print(f"\n{about['at']}, {about['cores']} cores, {about['seconds']:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
