"""Print every setting with name, default, unit and description (Markdown, the source of docs/settings.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analytics.service.settings import Settings as Service
from dashboards.settings import Settings as Grafana
from deploy.backup.settings import Settings as Backup
from deploy.commands.replay import Settings as Replay
from deploy.commands.simulate import Settings as Simulate
from deploy.device_access.settings import Settings as Access
from deploy.enrolment_settings import EnrolSettings
from deploy.settings import CommonSettings, default_text, setting_rows
from deploy.up.settings import Settings as Up
from edge.agent.settings import Settings as Edge
from gateway.hj212.settings import Settings as Hj212
from gateway.settings import Settings as Gateway
from ingest_service.federation.settings import Settings as Federate
from ingest_service.pipeline.settings import Settings as Ingest
from ingest_service.storage.settings import Settings as Storage

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import msgspec

TABLES: dict[str | None, type[msgspec.Struct]] = {
    None: CommonSettings,
    "storage": Storage,
    "up": Up,
    "edge": Edge,
    "edge_enrol": EnrolSettings,
    "access": Access,
    "ingest": Ingest,
    "service": Service,
    "gateway": Gateway,
    "hj212": Hj212,
    "federate": Federate,
    "backup": Backup,
    "grafana": Grafana,
    "simulate": Simulate,
    "replay": Replay,
}


def add(_parser: argparse.ArgumentParser) -> None:
    """Declare no flags of its own."""


def run(_args: argparse.Namespace, _common: CommonSettings) -> int:
    """Print the page."""
    print(page(), end="")
    return 0


def page() -> str:
    """Return the settings page of the documentation as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# Settings"
    yield ""
    yield "Every process reads its settings once, from flags or else the environment. A wrong one ends it"
    yield "with exit code 2 and a sentence that names it. A variable with `_FILE` appended names a file with"
    yield "the value, for secrets: `TOWNTWIN_DSN_FILE=/run/secrets/dsn`."
    yield "Made by `towntwin settings`; do not edit."
    for process, settings in TABLES.items():
        yield ""
        yield f"## {'All processes' if process is None else process}"
        yield ""
        yield "| Variable | Flag | Default | Unit | What it does |"
        yield "|---|---|---|---|---|"
        for row in setting_rows(settings, process):
            cells = [
                f"`{row.variable}`",
                f"`{row.flag}`",
                f"`{default_text(row.default)}`",
                row.unit,
                row.sentence,
            ]
            yield f"| {' | '.join(cells)} |"
