"""The page at ``/``: map, list of what is wrong, a series; kept up to date by a timer."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from nicegui import core, events, ui
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from gateway import context, problems
from gateway.access import visit as visits
from gateway.access.headers import NONCE
from gateway.console import nonces, picture, plot
from gateway.console.pages import Pages, guard
from gateway.console.snapshot import Snapshot, Snapshots
from gateway.console.strip import Strip
from gateway.console.words import Language, choose, word
from gateway.context import Context
from ingest_service.storage.errors import StoreError
from ingest_service.storage.model import Anomaly

if TYPE_CHECKING:
    from fastapi.responses import JSONResponse

    from gateway.access.gate import Gate
    from gateway.access.visit import Visit

REFRESH_S = 1.5
NAMED_BEYOND_S = 60.0  # a clock that is off by less needs nobody
SHOWN_S = 48 * 3600.0
MOST_READINGS = 4000
COOKIE = "towntwin_language"
# A socket whose key is no good any more is cut, and refused when it comes again.
LEAVE = """
const waiting = setInterval(() => {
  if (!window.socket) return;
  clearInterval(waiting);
  window.socket.on("connect_error", async () => {
    if ((await fetch("/v1/me")).status === 401) location.replace("/login");
  });
}, 200);
"""
STYLE = """
body { background: #0b1420; color: #dbe4ee;
       font-family: system-ui, "Noto Sans CJK SC", "WenQuanYi Micro Hei", sans-serif; }
.panel { background: #121f2f; border: 1px solid #1f3147; border-radius: 10px; }
.nicegui-content { padding: 10px; gap: 10px; height: 100vh; box-sizing: border-box; flex-wrap: nowrap; }
.figure { font-size: 20px; font-weight: 600; line-height: 1.1; }
.figure-name { font-size: 12px; color: #8fa3b8; }
.q-table__card { background: transparent; }
.q-table thead th { background: #121f2f; position: sticky; top: 0; z-index: 1; color: #8fa3b8; }
.q-table tbody td { font-size: 14px; white-space: normal; }
"""
SEVERITY_CELL = """
<q-td :props="props">
  <q-badge :color="['', 'blue-grey-6', 'orange-8', 'red-7'][props.row.level]"
           style="font-size: 13px; padding: 4px 8px">
    {{ ['', '○', '△', '◆'][props.row.level] }} {{ props.value }}
  </q-badge>
</q-td>
"""


def install(app: FastAPI) -> None:
    """Put the console at ``/`` of the application."""
    whole: Context = app.state.context
    gate: Gate = app.state.gate
    shared: dict[tuple[str, ...] | None, Snapshots] = {}  # by the areas that a visitor is bound to
    pages = Pages()

    @ui.page("/", title="towntwin")
    async def console(request: Request) -> None:
        language = choose(request.cookies.get(COOKIE), request.headers.get("accept-language"))
        here = context.seen(whole, request)
        visit: Visit = request.scope[visits.KEY]
        pages.add(ui.context.client, visit)
        snapshots = shared.setdefault(here.principal.areas, Snapshots(here))
        page = Page(here, snapshots, language, gate=gate, visit=visit)
        ui.add_head_html(f'<script nonce="{request.scope[NONCE]}">{LEAVE}</script>')
        page.build()

        async def refresh() -> None:
            await here.vitals.tasks.once("console", page.refresh)

        ui.context.client.on_connect(refresh)  # not before: a page that nobody looks at stays empty
        ui.timer(REFRESH_S, refresh, immediate=False)

    ui.run_with(app, dark=True, show_welcome_message=False)
    guard(pages)
    nonces.install()

    @core.app.exception_handler(404)
    @core.app.exception_handler(HTTPException)
    async def problem(_request: Request, error: HTTPException) -> JSONResponse:
        """Answer as the API does; NiceGUI's own answer would be a page, which stays in memory for a while."""
        return problems.answer(error.status_code, str(error.detail), headers=dict(error.headers or {}))


class Page:
    """One visitor's page."""

    def __init__(
        self,
        context: Context,
        snapshots: Snapshots,
        language: Language,
        *,
        gate: Gate,
        visit: Visit,
    ) -> None:
        self._context = context
        self._gate = gate
        self._visit = visit
        self._has_ended = False
        self._snapshots = snapshots
        self._language = language
        self._zone = context.store.zone
        self._series_id: int | None = None
        self._figures: dict[str, ui.label] = {}

    def build(self) -> None:
        """Lay the page out."""
        ui.add_head_html(f"<style>{STYLE}</style>")  # `add_css` adds an inline script
        with ui.row().classes("w-full items-center no-wrap panel px-4 py-2 gap-8"):
            ui.label(self._word("title")).classes("text-xl font-bold")
            ui.space()
            for name in ("readings", "open_anomalies", "newest", "dead_letters", "clock", "database"):
                with ui.column().classes("gap-0"):
                    self._figures[name] = ui.label("–").classes("figure").mark(name)
                    ui.label(self._word(name)).classes("figure-name")
            ui.button(self._word("language"), on_click=self._switch).props(
                "flat dense color=light-blue-3"
            ).mark("language")
        self._strip = Strip(self._language)
        self._banner = ui.label(self._word("away")).classes("w-full panel px-4 py-2 text-red-4").mark("away")
        self._banner.visible = False
        with ui.row().classes("w-full no-wrap gap-2").style("flex: 3; min-height: 0"):
            with ui.column().classes("panel p-2 gap-0 h-full").style("flex: 3; min-width: 0"):
                ui.label(self._word("towns")).classes("figure-name")
                self._map = (
                    ui.echart({}, on_point_click=self._chosen_on_map)
                    .classes("w-full")
                    .style("flex: 1")
                    .mark("map")
                )
            with ui.column().classes("panel p-2 gap-0 h-full").style("flex: 2; min-width: 0"):
                ui.label(self._word("wrong")).classes("figure-name")
                self._table = self._make_table()
        with ui.column().classes("w-full panel p-2 gap-0").style("flex: 2; min-height: 0"):
            self._hint = ui.label(self._word("choose")).classes("figure-name")
            self._plot = ui.echart({}).classes("w-full").style("flex: 1").mark("plot")

    async def refresh(self) -> None:
        """Show the newest snapshot and the chosen series, to whoever still may see them."""
        if not await self._may_go_on():
            return
        snapshot = await self._snapshots.newest()
        if snapshot is None:
            self._banner.visible = True
            return
        self._banner.visible = snapshot.away
        self._strip.show(snapshot)
        self._show_figures(snapshot)
        self._map.options.clear()
        self._map.options.update(picture.options(snapshot, self._language))
        self._map.update()
        self._table.rows = [self._row(one, snapshot) for one in snapshot.anomalies]
        self._table.update()
        if self._series_id is None and snapshot.anomalies:
            self._series_id = next((one.series_id for one in snapshot.anomalies if one.series_id), None)
        await self._show_series(snapshot)

    async def _may_go_on(self) -> bool:
        """Whether the key that loaded the page is still good; once it is not, the page ends."""
        self._has_ended = self._has_ended or not await self._gate.still_known(self._visit)
        return not self._has_ended

    # -- parts -----------------------------------------------------------------------------------

    def _make_table(self) -> ui.table:
        columns: list[dict[str, Any]] = [
            {"name": name, "field": name, "label": self._word(name), "align": "left"}
            for name in ("severity", "since", "site", "what")
        ]
        table = (
            ui.table(columns=columns, rows=[], row_key="id")
            .classes("w-full h-full")
            .props("flat dense virtual-scroll")
        )
        table.props(f'no-data-label="{self._word("nothing")}"')
        table.add_slot("body-cell-severity", SEVERITY_CELL)
        table.on("rowClick", self._chosen_in_table)
        return table.mark("anomalies")

    def _show_figures(self, snapshot: Snapshot) -> None:
        health = snapshot.health
        newest = self._word("never")
        if health.newest_received_s is not None:
            newest = self._word("ago").format(f"{max(0, time.time() - health.newest_received_s):.0f}")
        shown = {
            "readings": f"{health.readings:,}",
            "open_anomalies": str(health.open_anomalies),
            "newest": newest,
            "dead_letters": str(health.dead_letters),
            "clock": worst_clock(snapshot.clocks, self._language),
            "database": health.edition,
        }
        for name, text in shown.items():
            self._figures[name].text = text

    def _row(self, one: Anomaly, snapshot: Snapshot) -> dict[str, Any]:
        site = snapshot.known.sites[one.site_id]
        return {
            "id": one.anomaly_id,
            "level": one.severity,
            "severity": self._word(f"severity_{one.severity}"),
            "since": datetime.fromtimestamp(one.start_s, self._zone).strftime("%m-%d %H:%M"),
            "site": site.zh if self._language == "zh" else site.en,
            "what": one.reason_zh if self._language == "zh" else one.reason_en,
            "series": one.series_id,
        }

    async def _show_series(self, snapshot: Snapshot) -> None:
        series = snapshot.known.series.get(self._series_id or 0)
        self._hint.visible = series is None
        if series is None:
            return
        now_s = time.time()
        try:
            rows = await run_in_threadpool(
                self._context.store.readings,
                series.series_id,
                now_s - SHOWN_S,
                now_s + 600,
                limit=MOST_READINGS,
            )
        except StoreError:
            return
        site = snapshot.known.sites[series.site_id]
        name = site.zh if self._language == "zh" else site.en
        self._plot.options.clear()
        self._plot.options.update(plot.options(series, name, rows, self._language, self._zone))
        self._plot.update()

    # -- what a person does ----------------------------------------------------------------------

    async def _chosen_on_map(self, event: events.EChartPointClickEventArguments) -> None:
        site_id = event.data.get("site") if isinstance(event.data, dict) else None
        if not await self._may_go_on():
            return
        snapshot = await self._snapshots.newest()
        if snapshot is None or site_id is None:
            return
        at_site = [one.series_id for one in snapshot.known.series_of(site=site_id)]
        if at_site:
            after = at_site.index(self._series_id) + 1 if self._series_id in at_site else 0
            self._series_id = at_site[after % len(at_site)]  # clicking again shows the next quantity
            await self._show_series(snapshot)

    async def _chosen_in_table(self, event: events.GenericEventArguments) -> None:
        series_id = event.args[1].get("series")
        if not await self._may_go_on():
            return
        snapshot = await self._snapshots.newest()
        if series_id is not None and snapshot is not None:
            self._series_id = int(series_id)
            await self._show_series(snapshot)

    def _switch(self) -> None:
        other = "en" if self._language == "zh" else "zh"
        ui.run_javascript(
            f'document.cookie = "{COOKIE}={other};path=/;max-age=31536000;samesite=lax"; location.reload()'
        )

    def _word(self, key: str) -> str:
        return word(key, self._language)


def worst_clock(clocks: dict[str, float], language: Language) -> str:
    """How far off the worst clock is, and whose it is where somebody should look.

    >>> worst_clock({"d1": -0.4}, "en")
    '0 s'
    """
    if not clocks:
        return word("never", language)
    device, offset_s = max(clocks.items(), key=lambda one: abs(one[1]))
    whole_s = round(offset_s)  # an integer, so that it is never "-0"
    return (f"{whole_s:+,} s" if whole_s else "0 s") + (
        f" {device}" if abs(offset_s) >= NAMED_BEYOND_S else ""
    )
