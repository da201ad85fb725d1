"""Shows the newest dead letters in a dialog of the console: time, device, reason and advice."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from nicegui import ui
from starlette.concurrency import run_in_threadpool

from edge.wire import topics
from edge.wire.errors import TopicError
from gateway.auth.authorization import DEAD_LETTERS
from gateway.console.translations import TRANSLATIONS, Language, translate
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.contract.models import DeadLetterQuery

if TYPE_CHECKING:
    from gateway.api.request_context import RequestContext
    from ingest_service.storage.contract.models import DeadLetter

MAX_SHOWN = 100
TABLE_COLUMNS = ("time", "device", "reason", "sentence")
# The detail, in English, is of the one message; the sentence is the translated advice for its reason.
SENTENCE_CELL = """
<q-td :props="props"><div v-if="props.value">{{ props.value }}</div>
<div lang="en" class="detail">{{ props.row.detail }}</div></q-td>
"""


class DeadLetterDialog:
    """Dialog with a table of dead letters, which are read when it is opened."""

    def __init__(self, context: RequestContext, language: Language) -> None:
        self._context = context
        self._language = language
        with ui.dialog().mark("letters") as self._dialog, ui.card().classes("panel letters"):
            with ui.row().classes("w-full items-center no-wrap"):
                ui.label(translate("newest_letters", language)).classes("text-lg")
                ui.space()
                ui.button(translate("close", language), on_click=self._dialog.close).props("flat dense")
            columns: list[dict[str, Any]] = [
                {"name": name, "field": name, "label": translate(name, language), "align": "left"}
                for name in TABLE_COLUMNS
            ]
            self._table = (
                ui.table(columns=columns, rows=[], row_key="id")
                .classes("w-full")
                .props("flat dense hide-no-data virtual-scroll")
                .style("max-height: 70vh")
            )
            self._table.add_slot("body-cell-sentence", SENTENCE_CELL)
            self._empty_label = ui.label("").classes("figure-name")

    async def open(self) -> None:
        """Read the newest dead letters within the visitor's area scope, and show them."""
        rows: list[dict[str, Any]] = []
        empty_text_key = "no_letters"
        if not _may_read_dead_letters(self._context):
            empty_text_key = "no_right"
        else:
            try:
                query = DeadLetterQuery(whole=False, limit=MAX_SHOWN)
                matched = await run_in_threadpool(self._context.store.dead_letters, query)
                rows = [self._row(one) for one in matched]
            except StoreError:
                empty_text_key = "unknown_now"
        self._table.rows = rows
        self._table.update()
        self._empty_label.text = "" if rows else translate(empty_text_key, self._language)
        self._dialog.open()

    def _row(self, one: DeadLetter) -> dict[str, Any]:
        reason, advice_key = f"reason_{one.reason}", f"mend_{one.reason}"
        at = datetime.fromtimestamp(one.received_s, self._context.store.zone)
        return {
            "id": one.letter_id,
            "time": at.strftime("%m-%d %H:%M:%S"),
            "device": device_of(one.topic),
            "reason": translate(reason, self._language) if reason in TRANSLATIONS else one.reason,
            "sentence": translate(advice_key, self._language) if advice_key in TRANSLATIONS else "",
            "detail": one.detail,
        }


def device_of(topic: str) -> str:
    """Return the device of a topic; the topic itself if it has none.

    >>> device_of("towntwin/v1/330483-d1/wz-01/data"), device_of("elsewhere")
    ('wz-01', 'elsewhere')
    """
    try:
        return topics.parse_topic(topic).device
    except TopicError:
        return topic


def _may_read_dead_letters(context: RequestContext) -> bool:
    scopes = context.principal.scopes
    return not scopes or DEAD_LETTERS.scope in scopes
