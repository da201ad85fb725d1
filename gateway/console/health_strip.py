"""Draws the console's health strip: a symbol for each part of the platform, and the advice below."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from nicegui import ui

from gateway.console.health_checks import ordered_advice, platform_checks
from gateway.console.translations import Language, translate

if TYPE_CHECKING:
    from gateway.console.health_checks import PlatformCheck
    from gateway.console.platform_state import PlatformState
    from ingest_service.storage.health.process_messages import BilingualText

STATE_MARKS = {  # shapes as well as colours, for colour-blind readers
    "alive": ("●", "text-green-4"),
    "behind": ("▲", "text-amber-5"),
    "restarting": ("↻", "text-amber-5"),
    "stuck": ("■", "text-red-4"),
    "absent": ("✕", "text-red-4"),
    "unknown": ("○", "text-blue-grey-4"),
}


class HealthStrip:
    """Health strip of one page; redrawn only after a change, so that a reader does not lose the line."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._shown: object = None
        self._column = ui.column().classes("w-full panel px-4 py-1 gap-0").mark("processes")

    def show(self, platform_state: PlatformState | None) -> None:
        """Show the checks of a platform state; None before the database has responded."""
        found_checks = platform_checks(platform_state, now_s=time.time())
        ok = (
            platform_state is not None
            and platform_state.readiness.ok
            and platform_state.database == "writable"
        )
        advice_lines = [
            self._translate(one)
            for one in ordered_advice(
                found_checks, [] if platform_state is None else platform_state.readiness.problems
            )
        ]
        marks = [(one.state, self._translate(one.text)) for one in found_checks]
        shown_content = (ok, marks, advice_lines)
        if shown_content == self._shown:
            return
        self._shown = shown_content
        self._column.clear()
        with self._column:
            self._draw_marks(found_checks, ok=ok)
            for number, line in enumerate(advice_lines, 1):
                numbered_line = f"{number}. {line}" if len(advice_lines) > 1 else line
                ui.label(numbered_line).classes("text-sm text-amber-2").mark("why")

    def _draw_marks(self, found_checks: list[PlatformCheck], *, ok: bool) -> None:
        with ui.row().classes("items-center gap-x-6 gap-y-0 text-sm"):
            ui.label(
                ("✓ " if ok else "✕ ") + translate("kept" if ok else "not_kept", self._language)
            ).classes("font-bold text-green-4" if ok else "font-bold text-red-4").mark("verdict")
            for one in found_checks:
                shape, colour = STATE_MARKS[one.state]
                ui.label(f"{shape} {self._translate(one.text)}").classes(colour).mark(f"state-{one.state}")

    def _translate(self, sentence: BilingualText) -> str:
        return sentence.zh if self._language == "zh" else sentence.en
