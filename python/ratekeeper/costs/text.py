"""A table in plain text.

Owns the alignment, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

_WIDEST = 40


def aligned(
    head: Sequence[str], lines: Sequence[Sequence[str]], foot: Sequence[str] | None, *, left: int
) -> str:
    """Columns of text: the first `left` to the left, all others to the right; a rule under the head and over the foot."""
    rows = [[_cell(text) for text in line] for line in (head, *lines, *([foot] if foot else []))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    written = [
        "  ".join(
            text.ljust(width) if place < left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    written.insert(1, rule)
    if foot:
        written.insert(-1, rule)
    return "\n".join(written)


def _cell(text: str) -> str:
    """One line, of bounded width: a tag may hold anything."""
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= _WIDEST else f"{line[: _WIDEST - 1]}…"
