"""Extracts the commands of docs/howto/operate, for the test that compares them with the product."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

from tests.support.processes import REPOSITORY

PAGES = sorted((REPOSITORY / "docs/howto/operate").glob("*.md"))
OUTPUT = re.compile(r"^(?:PORT|Not shown|#)")
WRAPPERS = {"sudo", "env", "exec"}
# What a reader replaces is written in capitals, or as an ellipsis.
PLACEHOLDER = re.compile(r"^(?:[A-Z][A-Z0-9_-]*|…|\.\.\.)$")


class PageCommand(NamedTuple):
    """A command of a page: its words, without comment, redirection, variables and user."""

    page: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """The words as one line."""
        return f"{self.page}: {shlex.join(self.words)}"


def page_commands() -> list[PageCommand]:
    """Return the commands of all pages: indented or fenced lines, and code within sentences."""
    return [
        command
        for page in PAGES
        for line in _command_lines(page.read_text(encoding="utf-8"))
        for command in _split(page.name, line)
    ]


def _command_lines(text: str) -> list[str]:
    without_fences = re.sub(r"(?ms)^```\w*\n.*?^```$", "", text)
    blocks = re.findall(r"(?m)(?:^    .*\n)+", without_fences)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    sentences = re.sub(r"(?m)^    .*\n", "", without_fences).replace("\n", " ")
    inline = re.findall(
        r"`((?:sudo|systemctl|towntwin|make|psql|kubectl|docker|deploy/install\.sh) [^`]+)`", sentences
    )
    return [line.strip() for line in [*lines, *inline] if line.strip() and not OUTPUT.match(line.strip())]


def _split(page: str, line: str) -> list[PageCommand]:
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # a line of a configuration with one apostrophe
        return []
    found, current = [], list[str]()
    for word in [*words, ";"]:
        if set(word) <= set("|&;<>"):
            words_of_one = _without_wrappers(current)
            if words_of_one:
                found.append(PageCommand(page, tuple(words_of_one)))
            current = []
        else:
            current.append(word)
    return found


def _without_wrappers(words: list[str]) -> list[str]:
    """Return a command without variables, ``sudo`` with its user, and ``env``."""
    rest = list(words)
    while rest:
        if rest[0] in WRAPPERS or "=" in rest[0].partition("/")[0] or rest[0] in {"do", "set", "then"}:
            rest.pop(0)
        elif rest[0] == "-u" and len(rest) > 1:
            rest = rest[2:]
        else:
            break
    return rest
