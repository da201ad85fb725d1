"""Builds the console's page (map, open anomalies, plot of one series), and refreshes it by a timer."""

from __future__ import annotations

import asyncio
import copy
import time
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from fastapi import FastAPI, Request
from nicegui import core, events, ui
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from edge.wire.quantities import QUANTITIES
from gateway.api import problems, request_context
from gateway.api.problems import ProblemError
from gateway.api.request_context import RequestContext
from gateway.auth import request_auth
from gateway.console import network_map, plot_range, script_nonces, series_chart
from gateway.console.dead_letter_dialog import DeadLetterDialog
from gateway.console.health_strip import HealthStrip
from gateway.console.open_pages import OpenPages, guard_socket_events
from gateway.console.platform_state import MAX_PAGE_WAIT_S, PlatformState, PlatformStateCache
from gateway.console.plot_range import DEFAULT_RANGE_H, RANGE_CHOICES_H, PlotRange, range_around
from gateway.console.translations import Language, choose_language, translate
from gateway.transport.security_headers import NONCE_SCOPE_KEY
from ingest_service.storage.contract.errors import StoreError
from ingest_service.storage.contract.models import Anomaly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi.responses import JSONResponse
    from nicegui import Client

    from gateway.auth.authentication import Authenticator
    from gateway.auth.request_auth import RequestAuth
    from ingest_service.storage.contract.models import Series

REFRESH_INTERVAL_S = 1.5
MAX_ID_DIGITS = 16  # a longer number in the URL is ignored: no id is that long
MAX_LISTED_ANOMALIES = 500  # a browser draws more rows slowly; the number of the others is shown
CLOCK_NAMED_BEYOND_S = 60.0  # a smaller clock offset is shown without its device: no action is needed
LANGUAGE_COOKIE = "towntwin_language"
QUASAR_LANGUAGES: dict[Language, Literal["en-US", "zh-CN"]] = {"en": "en-US", "zh": "zh-CN"}
# A socket whose key has expired is closed, and rejected on reconnect: the page then goes to the login.
SIGN_OUT_SCRIPT = """
const waiting = setInterval(() => {
  if (!window.socket) return;
  clearInterval(waiting);
  window.socket.on("connect_error", async () => {
    if ((await fetch("/v1/me")).status === 401) location.replace("/login");
  });
}, 200);
"""
CONSOLE_STYLE = """
body { background: #0b1420; color: #dbe4ee;
       font-family: system-ui, "Noto Sans CJK SC", "WenQuanYi Micro Hei", sans-serif; }
.panel { background: #121f2f; border: 1px solid #1f3147; border-radius: 10px; }
.nicegui-content { padding: 10px; gap: 10px; height: 100vh; box-sizing: border-box; flex-wrap: nowrap; }
.figure { font-size: 20px; font-weight: 600; line-height: 1.1; }
.figure-name { font-size: 12px; color: #8fa3b8; }
.figures { display: flex; flex-wrap: wrap; gap: 4px 32px; }
.old { color: #ff6b78; }
.link { cursor: pointer; text-decoration: underline dotted; }
.upper { flex: 3; min-height: 0; display: flex; flex-wrap: nowrap; gap: 8px; width: 100%; }
.map-panel { flex: 3; min-width: 0; height: 100%; flex-wrap: nowrap; }
.list-panel { flex: 2; min-width: 0; height: 100%; flex-wrap: nowrap; }
.lower { flex: 2; min-height: 260px; width: 100%; flex-wrap: nowrap; }
.fills { flex: 1; width: 100%; min-height: 0; }
.letters { max-width: 1100px !important; width: 96vw; color: #dbe4ee; }
.detail { color: #8fa3b8; font-size: 12px; overflow-wrap: anywhere; }
.q-table__card { background: transparent; }
.q-table thead th { background: #121f2f; position: sticky; top: 0; z-index: 1; color: #8fa3b8; }
.q-table tbody td { font-size: 14px; white-space: normal; }
.q-table a { color: #7ec8ff; white-space: nowrap; }
.q-tab { min-height: 30px; padding: 0 10px; }
@media (max-width: 1000px) {
  .nicegui-content { height: auto; }
  .upper { flex: none; flex-direction: column; }
  .map-panel { flex: none; width: 100%; height: 360px; }
  .list-panel { flex: none; width: 100%; height: 380px; }
  .lower { flex: none; height: 480px; }
}
@media (max-width: 700px) {
  .figures { gap: 6px 18px; }
  .figure { font-size: 16px; }
  .plot-head { flex-direction: column; align-items: stretch; overflow: hidden; }
  .plot-head .q-tabs { flex: none !important; width: 100%; }
  .letters { width: 100%; padding: 8px; }
  .letters .q-table td:nth-child(2) { overflow-wrap: anywhere; }
  .q-table th, .q-table td { padding: 4px 5px !important; font-size: 13px !important; }
  /* an anomaly in two rows: severity, time, site and link; below them the sentence over the whole width */
  .list-panel thead { display: none; }
  .list-panel :is(table, tbody) { display: block; }
  .list-panel .q-virtual-scroll__content tr { display: grid; align-items: center; height: auto !important;
    grid-template-columns: auto auto 1fr auto; border-bottom: 1px solid #1f3147; }
  .list-panel .q-virtual-scroll__content td { border: none; height: auto; }
  .list-panel .q-virtual-scroll__content td:nth-child(4) { grid-column: 1 / -1; grid-row: 2; }
  .list-panel .q-virtual-scroll__content td:nth-child(5) { grid-column: 4; grid-row: 1; }
}
"""
SEVERITY_CELL = """
<q-td :props="props">
  <q-badge :color="['', 'blue-grey-6', 'orange-8', 'red-7'][props.row.level]"
           style="font-size: 13px; padding: 4px 8px">
    {{ ['', '○', '△', '◆'][props.row.level] }} {{ props.value }}
  </q-badge>
</q-td>
"""
LINK_CELL = """
<q-td :props="props"><a v-if="props.row.series" :href="'/?anomaly=' + props.row.id" @click.stop>
{{ props.value }} ›</a></q-td>
"""


def add_console(app: FastAPI) -> None:
    """Add the console to the application, at ``/``."""
    app_context: RequestContext = app.state.context
    authenticator: Authenticator = app.state.authenticator
    # By the visitor's area scope: pages of the same areas share one state.
    state_caches: dict[tuple[str, ...] | None, PlatformStateCache] = {}
    pages = OpenPages()

    @ui.page("/", title="towntwin")
    async def console(request: Request) -> None:
        language = choose_language(
            request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language")
        )
        _set_client_language(ui.context.client, language)
        page_context = request_context.context_for(app_context, request)
        auth: RequestAuth = request.scope[request_auth.AUTH_SCOPE_KEY]
        pages.add(ui.context.client, auth)
        state_cache = state_caches.setdefault(page_context.principal.areas, PlatformStateCache(page_context))
        page = ConsolePage(page_context, state_cache, language, authenticator=authenticator, auth=auth)
        page.select_from_query(request.query_params)
        ui.add_head_html(f'<script nonce="{request.scope[NONCE_SCOPE_KEY]}">{SIGN_OUT_SCRIPT}</script>')
        page.build()

        async def refresh() -> None:
            await page_context.platform_health.tasks.run_once("console", page.refresh)

        ui.context.client.on_connect(refresh)  # only then: no queries for a page without a browser
        ui.timer(REFRESH_INTERVAL_S, refresh, immediate=False)

    ui.run_with(app, dark=True, show_welcome_message=False)
    guard_socket_events(pages)
    script_nonces.add_nonce_to_template()

    @core.app.exception_handler(404)
    @core.app.exception_handler(HTTPException)
    async def problem(_request: Request, error: HTTPException) -> JSONResponse:
        """Respond as the API does: NiceGUI's error response would be a page that stays in memory a while."""
        return problems.problem_response(
            error.status_code, str(error.detail), headers=dict(error.headers or {})
        )


def _set_client_language(client: Client, language: Language) -> None:
    """Set the language of NiceGUI's own messages, such as that of a lost connection."""
    page_copy = copy.copy(client.page)  # a copy: all visitors share `client.page`
    page_copy.language = QUASAR_LANGUAGES[language]
    client.page = page_copy


class ConsolePage:
    """Widgets and state of one visitor's page: its language, chosen series and time range."""

    def __init__(
        self,
        context: RequestContext,
        state_cache: PlatformStateCache,
        language: Language,
        *,
        authenticator: Authenticator,
        auth: RequestAuth,
    ) -> None:
        self._context = context
        self._authenticator = authenticator
        self._auth = auth
        self._has_ended = False
        self._state_cache = state_cache
        self._language = language
        self._zone = context.store.zone
        self._site_id: str | None = None
        self._series_id: int | None = None
        self._anomaly_id: int | None = None  # from the URL; shown by the next refresh
        self._range = PlotRange()
        self._shaded_range: tuple[float, float] | None = None
        self._indicator_labels: dict[str, ui.label] = {}
        self._plot_task: asyncio.Task[None] | None = None

    def select_from_query(self, query: Mapping[str, str]) -> None:
        """Choose the anomaly or series of the URL's query: ``anomaly=7``, or ``series=12``."""
        if (number := query.get("anomaly", "")).isdecimal() and len(number) < MAX_ID_DIGITS:
            self._anomaly_id = int(number)
        if (number := query.get("series", "")).isdecimal() and len(number) < MAX_ID_DIGITS:
            self._series_id = int(number)

    def build(self) -> None:
        """Create the page's widgets."""
        ui.add_head_html(f"<style>{CONSOLE_STYLE}</style>")  # `add_css` adds an inline script
        with ui.row().classes("w-full items-center panel px-4 py-2 gap-x-8 gap-y-1"):
            ui.label(self._text("title")).classes("text-xl font-bold")
            ui.space()
            with ui.element("div").classes("figures"):
                for name in ("readings", "open_anomalies", "newest", "dead_letters", "clock", "database"):
                    self._add_indicator(name)
            ui.button(self._text("language"), on_click=self._switch_language).props(
                "flat dense color=light-blue-3"
            ).mark("language")
        self._dead_letter_dialog = DeadLetterDialog(self._context, self._language)
        self._health_strip = HealthStrip(self._language)
        self._banner = ui.label(self._text("away")).classes("w-full panel px-4 py-2 text-red-4").mark("away")
        self._banner.visible = False
        with ui.element("div").classes("upper"):
            with ui.column().classes("panel p-2 gap-0 map-panel"):
                ui.label(self._text("towns")).classes("figure-name")
                self._map = ui.echart({}, on_point_click=self._on_map_click).classes("fills").mark("map")
            with ui.column().classes("panel p-2 gap-0 list-panel"):
                ui.label(self._text("wrong")).classes("figure-name")
                self._empty_label = ui.label(self._text("loading")).classes("p-2").mark("none")
                self._table = self._make_table()
                self._unlisted_label = ui.label("").classes("figure-name").mark("unlisted")
                self._unlisted_label.visible = False
        with ui.column().classes("panel p-2 gap-0 lower"):
            with ui.row().classes("w-full items-center gap-x-4 gap-y-0 plot-head"):
                self._tabs = ui.tabs(on_change=self._on_quantity_change).props(
                    "dense no-caps inline-label align=left outside-arrows mobile-arrows"
                )
                self._tabs.mark("quantities").style("flex: 1; min-width: 0")
                self._ranges = ui.toggle(
                    {hours: self._text(f"range_{hours}") for hours in RANGE_CHOICES_H},
                    value=DEFAULT_RANGE_H,
                    on_change=self._on_range_change,
                ).props("dense no-caps flat toggle-color=light-blue-9")
                self._ranges.mark("ranges")
            self._hint = ui.label(self._text("choose")).classes("figure-name")
            self._plot = ui.echart({}).classes("fills").mark("plot")

    def _add_indicator(self, name: str) -> None:
        with ui.column().classes("gap-0") as column:
            self._indicator_labels[name] = ui.label("–").classes("figure").mark(name)
            ui.label(self._text(name)).classes("figure-name")
        if name == "dead_letters":
            column.classes("link").on("click", self._open_dead_letters)
            column.props('role="button" tabindex="0"').on("keydown.enter", self._open_dead_letters)

    async def refresh(self) -> None:
        """Show the newest platform state and the chosen series, if the visitor is still authenticated."""
        if not await self._is_still_authenticated():
            return
        platform_state = await self._state_cache.newest()
        self._health_strip.show(platform_state)
        self._banner.visible = platform_state is None or platform_state.is_database_away
        if platform_state is None:
            return
        self._show_indicators(platform_state)
        self._map.options.clear()
        self._map.options.update(network_map.map_options(platform_state, self._language))
        self._map.update()
        self._show_anomalies(platform_state)
        if not platform_state.is_database_away:
            await self._refresh_plot(platform_state)

    async def _refresh_plot(self, platform_state: PlatformState) -> None:
        """Show the chosen series; its query goes on after `MAX_PAGE_WAIT_S`, and the next refresh begins.

        A query of a frozen database ends after more than a minute; the health strip has to show it earlier.
        """
        if self._plot_task is not None and not self._plot_task.done():
            # What it shows may have been chosen before the click that this refresh follows.
            await asyncio.wait([self._plot_task], timeout=MAX_PAGE_WAIT_S)
            if not self._plot_task.done():
                return
        tasks = self._context.platform_health.tasks
        self._plot_task = asyncio.create_task(
            tasks.run_once("console", partial(self._show_chosen_series, platform_state))
        )
        await asyncio.wait([self._plot_task], timeout=MAX_PAGE_WAIT_S)

    async def _show_chosen_series(self, platform_state: PlatformState) -> None:
        if self._anomaly_id is not None:
            await self._show_linked_anomaly(platform_state)
        if self._series_id is None and platform_state.anomalies:
            self._series_id = next((one.series_id for one in platform_state.anomalies if one.series_id), None)
        if self._series_id is None:
            self._series_id = newest_series_id(platform_state)
        await self._show_series(platform_state)

    async def _is_still_authenticated(self) -> bool:
        """Whether the key that loaded the page is still valid; once it is not, the page stays ended."""
        self._has_ended = self._has_ended or not await self._authenticator.is_still_authenticated(self._auth)
        return not self._has_ended

    # -- parts -----------------------------------------------------------------------------------

    def _make_table(self) -> ui.table:
        columns: list[dict[str, Any]] = [
            {"name": name, "field": name, "label": self._text(name), "align": "left"}
            for name in ("severity", "since", "site", "what", "link")
        ]
        table = (
            ui.table(columns=columns, rows=[], row_key="id")
            .classes("fills")
            .props("flat dense virtual-scroll hide-no-data")  # Quasar marks "no data" with a warning sign
        )
        table.add_slot("body-cell-severity", SEVERITY_CELL)
        table.add_slot("body-cell-link", LINK_CELL)
        table.on("rowClick", self._on_row_click)
        return table.mark("anomalies")

    def _show_indicators(self, platform_state: PlatformState) -> None:
        health = platform_state.health
        age_s = platform_state.newest_age_s
        newest = self._text("never") if age_s is None else self._text("ago").format(f"{age_s:,.0f}")
        is_stale = platform_state.is_stale or platform_state.database != "writable"
        self._indicator_labels["newest"].classes(
            add="old" if is_stale else "", remove="" if is_stale else "old"
        )
        indicator_texts = {
            "readings": f"{health.readings:,}",
            "open_anomalies": str(health.open_anomalies),
            "newest": newest,
            "dead_letters": str(health.dead_letters),
            "clock": worst_clock_text(platform_state.clocks, self._language),
            "database": health.edition,
        }
        for name, text in indicator_texts.items():
            self._indicator_labels[name].text = text

    def _show_anomalies(self, platform_state: PlatformState) -> None:
        listed = platform_state.anomalies[:MAX_LISTED_ANOMALIES]
        self._table.rows = [self._row(one, platform_state) for one in listed]
        self._table.update()
        unlisted_count = len(platform_state.anomalies) - len(listed)
        self._unlisted_label.visible = unlisted_count > 0
        self._unlisted_label.text = self._text("unlisted").format(unlisted_count)
        self._empty_label.visible = not platform_state.anomalies
        is_state_known = platform_state.database == "writable"
        self._empty_label.text = f"✓ {self._text('nothing')}" if is_state_known else self._text("unknown_now")

    def _row(self, one: Anomaly, platform_state: PlatformState) -> dict[str, Any]:
        site = platform_state.directory_index.sites[one.site_id]
        return {
            "id": one.anomaly_id,
            "level": one.severity,
            "severity": self._text(f"severity_{one.severity}"),
            "since": datetime.fromtimestamp(one.start_s, self._zone).strftime("%m-%d %H:%M"),
            "site": site.zh if self._language == "zh" else site.en,
            "what": one.reason_zh if self._language == "zh" else one.reason_en,
            "link": self._text("open"),
            "series": one.series_id,
        }

    async def _show_linked_anomaly(self, platform_state: PlatformState) -> None:
        """Show the anomaly of the page's URL, if it exists within the visitor's area scope."""
        anomaly_id, self._anomaly_id = self._anomaly_id, None
        try:
            linked_anomaly = await run_in_threadpool(self._context.store.anomaly, anomaly_id or 0)
        except StoreError:
            self._anomaly_id = anomaly_id  # at the next refresh
            return
        if linked_anomaly is not None:
            self._show_anomaly(linked_anomaly, platform_state)

    def _show_anomaly(self, one: Anomaly, platform_state: PlatformState) -> None:
        """Choose the series of an anomaly, or the first series of its site, and the time range around it."""
        site_series = [
            series.series_id
            for series in platform_state.directory_index.directory.series
            if series.site_id == one.site_id
        ]
        self._series_id = one.series_id or next(iter(site_series), None)
        self._range = range_around(one, time.time())
        self._shaded_range = (one.start_s, time.time() if one.end_s is None else one.end_s)
        self._ranges.set_value(None)

    async def _show_series(self, platform_state: PlatformState) -> None:
        series = platform_state.directory_index.series.get(self._series_id or 0)
        self._hint.visible = series is None
        if series is None:
            return
        self._show_tabs(platform_state, series)
        from_s, to_s = self._range.bounds(time.time())
        try:
            rows = await run_in_threadpool(plot_range.read_plot_rows, self._context, series, from_s, to_s)
        except (StoreError, ProblemError):
            return
        site = platform_state.directory_index.sites[series.site_id]
        name = site.zh if self._language == "zh" else site.en
        self._plot.options.clear()
        self._plot.options.update(
            series_chart.chart_options(
                series, name, rows, self._language, self._zone, shaded_range=self._shaded_range
            )
        )
        self._plot.update()

    def _show_tabs(self, platform_state: PlatformState, series: Series) -> None:
        """Show a tab for each quantity of the site."""
        if series.site_id != self._site_id:
            self._site_id = series.site_id
            self._tabs.clear()
            with self._tabs:
                for one in platform_state.directory_index.series_of(site=series.site_id):
                    quantity = QUANTITIES[one.quantity]
                    label = quantity.zh if self._language == "zh" else quantity.en
                    ui.tab(str(one.series_id), label=label)
        if self._tabs.value != str(series.series_id):
            self._tabs.set_value(str(series.series_id))

    # -- event handlers -------------------------------------------------------------------------

    async def _on_map_click(self, event: events.EChartPointClickEventArguments) -> None:
        site_id = event.data.get("site") if isinstance(event.data, dict) else None
        if not await self._is_still_authenticated():
            return
        platform_state = await self._state_cache.newest()
        if platform_state is None or site_id not in platform_state.directory_index.sites:
            return
        site_series = [one.series_id for one in platform_state.directory_index.series_of(site=site_id)]
        if site_series:
            next_index = site_series.index(self._series_id) + 1 if self._series_id in site_series else 0
            self._series_id = site_series[
                next_index % len(site_series)
            ]  # clicking again shows the next quantity
            await self._show_series(platform_state)

    async def _on_row_click(self, event: events.GenericEventArguments) -> None:
        anomaly_id = event.args[1].get("id")
        if not await self._is_still_authenticated():
            return
        platform_state = await self._state_cache.newest()
        if platform_state is None:
            return
        one = next((one for one in platform_state.anomalies if one.anomaly_id == anomaly_id), None)
        if one is not None:
            self._show_anomaly(one, platform_state)
            await self._show_series(platform_state)

    async def _on_quantity_change(self, event: events.ValueChangeEventArguments[Any]) -> None:
        chosen = str(event.value)
        if (
            not chosen.isdecimal()
            or int(chosen) == self._series_id
            or not await self._is_still_authenticated()
        ):
            return
        platform_state = await self._state_cache.newest()
        if platform_state is not None:
            self._series_id = int(chosen)
            await self._show_series(platform_state)

    async def _on_range_change(self, event: events.ValueChangeEventArguments[Any]) -> None:
        if event.value not in RANGE_CHOICES_H or not await self._is_still_authenticated():
            return
        self._range, self._shaded_range = PlotRange(int(event.value)), None
        platform_state = await self._state_cache.newest()
        if platform_state is not None:
            await self._show_series(platform_state)

    async def _open_dead_letters(self) -> None:
        if await self._is_still_authenticated():
            await self._dead_letter_dialog.open()

    def _switch_language(self) -> None:
        other_language = "en" if self._language == "zh" else "zh"
        ui.run_javascript(
            f'document.cookie = "{LANGUAGE_COOKIE}={other_language};path=/;max-age=31536000;samesite=lax"; '
            "location.reload()"
        )

    def _text(self, key: str) -> str:
        return translate(key, self._language)


def newest_series_id(platform_state: PlatformState) -> int | None:
    """Return the series with the newest reading, shown where there is no anomaly; None without readings."""
    measured = [one for node in platform_state.state.nodes for one in node.measured]
    return max(measured, key=lambda one: one.time_s).series_id if measured else None


def worst_clock_text(clocks: dict[str, float], language: Language) -> str:
    """Return the largest clock offset, with its device from `CLOCK_NAMED_BEYOND_S` on.

    >>> worst_clock_text({"d1": -0.4}, "en")
    '0 s'
    """
    if not clocks:
        return translate("never", language)
    device, offset_s = max(clocks.items(), key=lambda one: abs(one[1]))
    rounded_s = round(offset_s)  # an integer, so that it is never "-0"
    return (f"{rounded_s:+,} s" if rounded_s else "0 s") + (
        f" {device}" if abs(offset_s) >= CLOCK_NAMED_BEYOND_S else ""
    )
