"""The strip of the platform's own processes: one mark for each, and a sentence for each that is not alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nicegui import ui

from gateway.console.words import Language, word
from ingest_service.storage import process_words

if TYPE_CHECKING:
    from gateway.console.snapshot import Snapshot
    from ingest_service.storage.process_words import Sentence
    from ingest_service.storage.processes import Process

LOOKS = {  # a shape as well as a colour
    "alive": ("●", "text-green-4"),
    "behind": ("▲", "text-amber-5"),
    "restarting": ("↻", "text-amber-5"),
    "stuck": ("■", "text-red-4"),
    "absent": ("✕", "text-red-4"),
}


class Strip:
    """Shown anew only where something changed, so that a reader keeps the place."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._shown: object = None
        self._column = ui.column().classes("w-full panel px-4 py-1 gap-0").mark("processes")

    def show(self, snapshot: Snapshot) -> None:
        """Every process as it is now."""
        ok = snapshot.verdict.ok and not snapshot.away
        lines = [self._said(one) for one in snapshot.verdict.problems]
        lines += [
            self._said(process_words.sentence(one)) for one in snapshot.processes if one.state != "alive"
        ]
        marks = [(one.state, self._name(one)) for one in snapshot.processes]
        newest = (ok, marks, lines)
        if newest == self._shown:
            return
        self._shown = newest
        self._column.clear()
        with self._column:
            with ui.row().classes("items-center gap-6 text-sm"):
                ui.label(("✓ " if ok else "✕ ") + word("kept" if ok else "not_kept", self._language)).classes(
                    "font-bold text-green-4" if ok else "font-bold text-red-4"
                ).mark("verdict")
                for state, name in marks:
                    shape, colour = LOOKS[state]
                    ui.label(f"{shape} {name}").classes(colour).mark(f"state-{state}")
            for line in dict.fromkeys(lines):  # what keeps readings out is mostly a process' own sentence
                ui.label(line).classes("text-sm text-amber-2").mark("why")

    def _name(self, process: Process) -> str:
        name, state = process_words.named(process), process_words.STATES[process.state]
        standby = process_words.STANDBY if process.role == "standby" else process_words.EMPTY
        return f"{self._said(name)}{self._said(standby)} {self._said(state)}"

    def _said(self, sentence: Sentence) -> str:
        return sentence.zh if self._language == "zh" else sentence.en
