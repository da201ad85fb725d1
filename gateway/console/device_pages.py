"""Serves the page of devices: reporting or silent, clock, battery, signal, enrolment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from analytics.service.network_state import STALE_INTERVALS
from gateway.auth.authorization import CONSOLE, ENROLMENT, requires
from gateway.console.page_parts import PageParts, clock_text
from gateway.console.visitor import CurrentState, CurrentVisitor, page_response

if TYPE_CHECKING:
    from ingest_service.storage.contract.models import DeviceActivity

router = APIRouter(include_in_schema=False)

DeviceState = Literal["device_silent", "device_new", "device_ok"]
ORDER: tuple[DeviceState, ...] = ("device_silent", "device_new", "device_ok")
BAD_CLOCK_S = 60.0


@router.get("/console/devices")
@requires(CONSOLE)
async def devices_page(visitor: CurrentVisitor, state: CurrentState) -> HTMLResponse:
    """Serve the list of devices, silent ones first."""
    store = visitor.context.store
    activities, statuses = await run_in_threadpool(lambda: (store.activity(), store.statuses()))
    activity_by_device = {one.device_id: one for one in activities}
    status_by_device = {one.device_id: one for one in statuses}
    directory = state.directory_index.directory
    rows: list[dict[str, Any]] = []
    for device in directory.devices:
        activity, status = activity_by_device.get(device.device_id), status_by_device.get(device.device_id)
        clock_s = status.clock_offset_s if status else None
        rows.append(
            {
                "device": device,
                "site": state.directory_index.sites.get(activity.site_id) if activity else None,
                "activity": activity,
                "state": device_state(activity, time.time()),
                "status": status.status if status else {},
                "clock_s": clock_s,
                "clock": "–" if clock_s is None else clock_text(clock_s, visitor.language),
                "enrolled_s": directory.enrolled_s.get(device.device_id),
            }
        )
    rows.sort(key=lambda row: (ORDER.index(row["state"]), row["device"].device_id))
    return page_response(
        visitor,
        "devices.html",
        parts=PageParts(visitor, state),
        rows=rows,
        bad_clock_s=BAD_CLOCK_S,
        may_enrol=visitor.may(ENROLMENT) and visitor.context.unscoped_store.database is not None,
    )


def device_state(activity: DeviceActivity | None, now_s: float) -> DeviceState:
    """Return whether a device reports, by the time of its newest reading."""
    if activity is None or activity.received_s is None:
        return "device_new"
    is_silent = now_s - activity.received_s > STALE_INTERVALS * activity.interval_s
    return "device_silent" if is_silent else "device_ok"
