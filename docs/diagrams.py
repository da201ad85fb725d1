"""Draws the diagrams of ``architecture.md``: the way of a reading and the way of a request, as SVG.

``python docs/diagrams.py`` writes them to ``docs/pictures``; a test fails if they are out of date or name a
module that does not exist.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

PICTURES = Path(__file__).parent / "pictures"
WIDTH, ROW, GAP, MARGIN = 960, 58, 26, 16
LABEL_WIDTH = 150
SMALL = 'font-size="12" fill="#446"'
COLOURS = {"process": "#e8eef7", "store": "#eaf4e6", "outside": "#f5f0e4"}


class Step(NamedTuple):
    """One row of a diagram: what happens, where it runs, and the modules that do it."""

    label: str
    kind: str
    text: str
    modules: tuple[str, ...] = ()


READING = (
    Step(
        "device", "outside", "a driver reads a sensor or a script's lines", ("edge/drivers/line_driver.py",)
    ),
    Step(
        "edge agent",
        "process",
        "numbers each pack, keeps it in the spool until its receipt, publishes it by MQTT 5",
        ("edge/agent/agent.py", "edge/agent/spool.py", "edge/agent/publisher.py", "edge/wire/senml.py"),
    ),
    Step(
        "broker",
        "outside",
        "Mosquitto, or the broker embedded in towntwin up",
        ("deploy/embedded/broker.py",),
    ),
    Step(
        "ingest: receive",
        "process",
        "persistent session with manual acknowledgement; queue bounded by bytes",
        ("ingest_service/pipeline/mqtt_session.py", "ingest_service/pipeline/inbox.py"),
    ),
    Step(
        "ingest: decode",
        "process",
        "SenML to columns; irregular records one by one; topics, channels and units to series",
        (
            "ingest_service/pipeline/decode.py",
            "ingest_service/pipeline/irregular_records.py",
            "ingest_service/pipeline/series_resolver.py",
        ),
    ),
    Step(
        "ingest: judge",
        "process",
        "flags and anomalies of fresh readings; late and repeated ones wait for the service",
        (
            "ingest_service/pipeline/shard_judge.py",
            "analytics/core/judge.py",
            "analytics/quality/anomaly_records.py",
        ),
    ),
    Step(
        "ingest: commit",
        "process",
        "one transaction a batch; a refused batch is split until the faulty message is isolated",
        (
            "ingest_service/pipeline/commit_queue.py",
            "ingest_service/pipeline/batch_processor.py",
            "ingest_service/storage/postgres/write_batch.py",
        ),
    ),
    Step("TimescaleDB", "store", "readings, flags, anomalies, dead letters, checkpoints"),
    Step(
        "ingest: receipt",
        "process",
        "after COMMIT only: PUBACK to the broker, receipt to the agent, which drops it from the spool",
        ("ingest_service/pipeline/mqtt_session.py", "edge/wire/receipts.py"),
    ),
    Step(
        "service",
        "process",
        "judges late data again, several quantities of a site, silence, rollups, assessments, reports",
        (
            "analytics/service/process.py",
            "analytics/service/rejudge_late_data.py",
            "analytics/service/site_anomalies.py",
            "analytics/service/device_silence.py",
        ),
    ),
)

REQUEST = (
    Step("client", "outside", "GET /v1/anomalies with an API key", ("towntwin/client.py",)),
    Step(
        "transport",
        "process",
        "limits of header, body and time; forwarded headers; HEAD; gzip; security headers",
        (
            "gateway/transport/timeout_protocol.py",
            "gateway/transport/forwarded_headers.py",
            "gateway/transport/request_body.py",
            "gateway/transport/compression.py",
            "gateway/transport/security_headers.py",
        ),
    ),
    Step(
        "authentication",
        "process",
        "API key, OIDC token or browser session to a principal",
        (
            "gateway/auth/middleware.py",
            "gateway/auth/authentication.py",
            "gateway/auth/api_keys.py",
            "gateway/auth/oidc.py",
        ),
    ),
    Step(
        "authorisation",
        "process",
        "the right that the route declares; rate limit; a slot in the fair queue",
        ("gateway/auth/authorization.py", "gateway/auth/rate_limit.py", "gateway/auth/fair_queue.py"),
    ),
    Step(
        "route",
        "process",
        "parameters by one pre-built validator; principal's areas; cursor; snapshot",
        (
            "gateway/api/fast_route.py",
            "gateway/api/request_context.py",
            "gateway/api/pagination.py",
            "gateway/api/snapshots.py",
            "gateway/api/routes/anomalies.py",
        ),
    ),
    Step(
        "query",
        "process",
        "one page, read behind row-level security",
        (
            "gateway/auth/area_scope.py",
            "ingest_service/storage/postgres/query_api.py",
            "ingest_service/storage/postgres/row_level_security.py",
        ),
    ),
    Step("TimescaleDB", "store", "anomalies of the principal's areas, as of the snapshot"),
    Step(
        "response",
        "process",
        "rows to JSON, CSV, NDJSON, Arrow or Parquet, block by block; audit of exports",
        (
            "gateway/formats/negotiation.py",
            "gateway/formats/streaming_response.py",
            "gateway/api/models/row_models.py",
            "gateway/auth/export_audit.py",
        ),
    ),
)

DIAGRAMS = {"way_of_a_reading.svg": READING, "way_of_a_request.svg": REQUEST}


def svg(steps: tuple[Step, ...]) -> str:
    """Return a diagram: the steps from top to bottom, an arrow between each two."""
    height = MARGIN * 2 + len(steps) * ROW + (len(steps) - 1) * GAP
    size = f'width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        '<defs><marker id="arrow" markerWidth="9" markerHeight="7" refX="8" refY="3.5" orient="auto">',
        '<path d="M0 0L9 3.5L0 7z" fill="#556"/></marker></defs>',
        f'<rect {size} fill="white"/>',
    ]
    for number, step in enumerate(steps):
        y = MARGIN + number * (ROW + GAP)
        box = f'x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{ROW}" rx="6"'
        parts += [
            f'<rect {box} fill="{COLOURS[step.kind]}" stroke="#889"/>',
            _text(MARGIN + 12, y + 34, step.label, 'font-size="15" font-weight="bold"'),
            _text(MARGIN + LABEL_WIDTH, y + 24, step.text, 'font-size="14"'),
            _text(MARGIN + LABEL_WIDTH, y + 45, ", ".join(_short(step.modules)), SMALL),
        ]
        if number:
            line = f'x1="{WIDTH / 2}" y1="{y - GAP}" x2="{WIDTH / 2}" y2="{y}"'
            parts.append(f'<line {line} stroke="#556" stroke-width="1.5" marker-end="url(#arrow)"/>')
    return "\n".join([*parts, "</svg>", ""])


def _text(x: int, y: int, text: str, style: str) -> str:
    return f'<text x="{x}" y="{y}" {style}>{escape(text)}</text>'


def _short(modules: tuple[str, ...]) -> list[str]:
    """Return the paths of modules, a folder named once for its neighbours: ``a/b.py, c.py``."""
    shown, folder = [], ""
    for module in modules:
        parent, _, name = module.rpartition("/")
        shown.append(name if parent == folder else module)
        folder = parent
    return shown


def main() -> None:
    """Write every diagram."""
    for name, steps in DIAGRAMS.items():
        (PICTURES / name).write_text(svg(steps), "utf-8")
        print(PICTURES / name, file=sys.stderr)


if __name__ == "__main__":
    main()
