"""Settings of `towntwin federate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from ingest_service.pipeline.settings import SessionSettings


class Settings(SessionSettings, frozen=True, kw_only=True):
    """Settings of forwarding (at a town) and receiving (at its county)."""

    policy: Annotated[
        Path, Meta(description="File (TOML) with what the town forwards; see docs/federation.md.")
    ] = Path("federation.toml")
    county_url: Annotated[
        str,
        Meta(
            description="Address of the county's gateway, https://…: the town forwards by HTTPS. Without one"
            " it forwards by MQTT to the broker."
        ),
    ] = ""
    county_ca: Annotated[
        Path | None,
        Meta(description="Certificate of the authority (PEM) of that address, if it is no public one."),
    ] = None
    county_key_file: Annotated[
        Path,
        Meta(description="File with the town's API key at the county, for county_url."),
    ] = Path("county.key")
    spool: Annotated[
        Path, Meta(description="File of the messages under way to the county; made anew at each start.")
    ] = Path("federation.spool")
    poll_s: Annotated[
        float,
        Meta(
            description="How often the town looks for changes to forward.", extra={"unit": "s"}, gt=0, le=60
        ),
    ] = 2.0
    block_readings: Annotated[
        int,
        Meta(
            description="Readings in one block of messages; the next is sent when the county has all of it.",
            extra={"unit": "readings"},
            ge=1,
            le=200_000,
        ),
    ] = 20_000
    backlog_readings_per_s: Annotated[
        float,
        Meta(
            description="Rate at most of what waited for more than a minute, which is sent behind newer"
            " changes; 0 is unbounded.",
            extra={"unit": "1/s"},
            ge=0,
        ),
    ] = 5000.0
    behind_s: Annotated[
        float,
        Meta(
            description="Health shows the process as behind where a change or a message waits for so long.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 300.0
