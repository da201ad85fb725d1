"""Text for a terminal or a log, without the control characters that either would obey."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""A text whose control characters are escaped: somebody else wrote it.

    >>> printable("red \x1b[31m\nnew line, 桐乡")
    'red \\x1b[31m\\nnew line, 桐乡'
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
