"""The health strip: a mark for each part of the platform, and below it what to do, in order."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nicegui import ui

from gateway.console.checks import checks, to_do
from gateway.console.words import Language, word

if TYPE_CHECKING:
    from gateway.console.checks import Check
    from gateway.console.snapshot import Snapshot
    from ingest_service.storage.process_words import Sentence

LOOKS = {  # a shape as well as a colour
    "alive": ("●", "text-green-4"),
    "behind": ("▲", "text-amber-5"),
    "restarting": ("↻", "text-amber-5"),
    "stuck": ("■", "text-red-4"),
    "absent": ("✕", "text-red-4"),
    "unknown": ("○", "text-blue-grey-4"),
}


class Strip:
    """Shown anew only where something changed, so that a reader keeps the place."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._shown: object = None
        self._column = ui.column().classes("w-full panel px-4 py-1 gap-0").mark("processes")

    def show(self, snapshot: Snapshot | None) -> None:
        """Every part as it is now; without a snapshot the database has not answered yet."""
        found = checks(snapshot, now_s=time.time())
        ok = snapshot is not None and snapshot.verdict.ok and not snapshot.away and snapshot.writable
        lines = [self._in(one) for one in to_do(found, [] if snapshot is None else snapshot.verdict.problems)]
        marks = [(one.state, self._in(one.text)) for one in found]
        newest = (ok, marks, lines)
        if newest == self._shown:
            return
        self._shown = newest
        self._column.clear()
        with self._column:
            self._draw_marks(found, ok=ok)
            for number, line in enumerate(lines, 1):
                shown = f"{number}. {line}" if len(lines) > 1 else line
                ui.label(shown).classes("text-sm text-amber-2").mark("why")

    def _draw_marks(self, found: list[Check], *, ok: bool) -> None:
        with ui.row().classes("items-center gap-x-6 gap-y-0 text-sm"):
            ui.label(("✓ " if ok else "✕ ") + word("kept" if ok else "not_kept", self._language)).classes(
                "font-bold text-green-4" if ok else "font-bold text-red-4"
            ).mark("verdict")
            for one in found:
                shape, colour = LOOKS[one.state]
                ui.label(f"{shape} {self._in(one.text)}").classes(colour).mark(f"state-{one.state}")

    def _in(self, sentence: Sentence) -> str:
        return sentence.zh if self._language == "zh" else sentence.en
