"""Dialog with the newest dead letters: time, device, reason and detail."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from nicegui import ui
from starlette.concurrency import run_in_threadpool

from edge.wire import topics
from edge.wire.errors import TopicError
from gateway.access.rights import LETTERS
from gateway.console.words import WORDS, Language, word
from ingest_service.storage.errors import StoreError
from ingest_service.storage.model import LetterQuery

if TYPE_CHECKING:
    from gateway.context import Context
    from ingest_service.storage.model import DeadLetter

MOST = 100
COLUMNS = ("time", "device", "reason", "sentence")
# The detail is what the platform noted in English, with what the device sent; the sentence is of the reason.
SENTENCE_CELL = """
<q-td :props="props"><div v-if="props.value">{{ props.value }}</div>
<div lang="en" class="detail">{{ props.row.detail }}</div></q-td>
"""


class Letters:
    """The dialog; it reads the letters when it is opened."""

    def __init__(self, context: Context, language: Language) -> None:
        self._context = context
        self._language = language
        with ui.dialog().mark("letters") as self._dialog, ui.card().classes("panel letters"):
            with ui.row().classes("w-full items-center no-wrap"):
                ui.label(word("newest_letters", language)).classes("text-lg")
                ui.space()
                ui.button(word("close", language), on_click=self._dialog.close).props("flat dense")
            columns: list[dict[str, Any]] = [
                {"name": name, "field": name, "label": word(name, language), "align": "left"}
                for name in COLUMNS
            ]
            self._table = (
                ui.table(columns=columns, rows=[], row_key="id")
                .classes("w-full")
                .props("flat dense hide-no-data virtual-scroll")
                .style("max-height: 70vh")
            )
            self._table.add_slot("body-cell-sentence", SENTENCE_CELL)
            self._none = ui.label("").classes("figure-name")

    async def open(self) -> None:
        """Read the newest letters that the visitor may see, and show them."""
        rows: list[dict[str, Any]] = []
        none = "no_letters"
        if not _may_read(self._context):
            none = "no_right"
        else:
            try:
                query = LetterQuery(whole=False, limit=MOST)
                found = await run_in_threadpool(self._context.store.dead_letters, query)
                rows = [self._row(one) for one in found]
            except StoreError:
                none = "unknown_now"
        self._table.rows = rows
        self._table.update()
        self._none.text = "" if rows else word(none, self._language)
        self._dialog.open()

    def _row(self, one: DeadLetter) -> dict[str, Any]:
        reason, mend = f"reason_{one.reason}", f"mend_{one.reason}"
        at = datetime.fromtimestamp(one.received_s, self._context.store.zone)
        return {
            "id": one.letter_id,
            "time": at.strftime("%m-%d %H:%M:%S"),
            "device": device_of(one.topic),
            "reason": word(reason, self._language) if reason in WORDS else one.reason,
            "sentence": word(mend, self._language) if mend in WORDS else "",
            "detail": one.detail,
        }


def device_of(topic: str) -> str:
    """The device that a topic names; the topic itself where it names none.

    >>> device_of("towntwin/v1/330483-d1/wz-01/data"), device_of("elsewhere")
    ('wz-01', 'elsewhere')
    """
    try:
        return topics.parse(topic).device
    except TopicError:
        return topic


def _may_read(context: Context) -> bool:
    scopes = context.principal.scopes
    return not scopes or LETTERS.scope in scopes
