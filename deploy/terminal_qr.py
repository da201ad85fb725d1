"""Draws a QR code in a terminal, black on white whatever the colours of the terminal are."""

from __future__ import annotations

import itertools

import segno

# Entries 16 and 231 of the 256 colours, which no scheme redefines. In a terminal's own colours the code is
# inverted on one of the two grounds, and not every reader decodes an inverted one.
BLACK_ON_WHITE, RESET = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
HALF_BLOCKS = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def draw_qr_code(text: str) -> str:
    """Return the QR code of a text, with its margin of four modules, two modules to a character."""
    rows = [[bool(module) for module in row] for row in segno.make(text, micro=False).matrix_iter()]
    pairs = itertools.zip_longest(rows[::2], rows[1::2], fillvalue=[False] * len(rows))
    lines = ("".join(HALF_BLOCKS[pair] for pair in zip(*two, strict=True)) for two in pairs)
    return "".join(f"{BLACK_ON_WHITE}{line}{RESET}\n" for line in lines)
