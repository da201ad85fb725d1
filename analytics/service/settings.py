"""Settings of the periodic analytics service: intervals, retention, silence, rejudging, assessments."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - msgspec reads the annotation
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the periodic analytics service."""

    period_s: Annotated[float, Meta(description="Time between two rounds.", extra={"unit": "s"}, ge=0.1)] = (
        1.0
    )
    task_s: Annotated[
        float,
        Meta(
            description="Time that a task has in a round before the others have theirs.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 5.0
    stop_grace_s: Annotated[
        float,
        Meta(
            description="Time for what is under way when asked to stop; then the process ends.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 10.0
    rollup_readings: Annotated[
        int,
        Meta(
            description="About how many readings one transaction rolls up.",
            extra={"unit": "readings"},
            ge=1,
        ),
    ] = 200_000
    keep_readings_days: Annotated[
        float, Meta(description="How long readings are kept; 0 is for ever.", extra={"unit": "d"}, ge=0)
    ] = 0.0
    keep_1min_days: Annotated[
        float,
        Meta(description="How long rollups of a minute are kept; 0 is for ever.", extra={"unit": "d"}, ge=0),
    ] = 0.0
    keep_15min_days: Annotated[
        float,
        Meta(
            description="How long rollups of a quarter of an hour are kept; 0 is for ever.",
            extra={"unit": "d"},
            ge=0,
        ),
    ] = 0.0
    keep_1h_days: Annotated[
        float,
        Meta(description="How long rollups of an hour are kept; 0 is for ever.", extra={"unit": "d"}, ge=0),
    ] = 0.0
    keep_1day_days: Annotated[
        float,
        Meta(description="How long rollups of a day are kept; 0 is for ever.", extra={"unit": "d"}, ge=0),
    ] = 0.0
    keep_scenarios_days: Annotated[
        float,
        Meta(description="How long computed scenarios are kept; 0 is for ever.", extra={"unit": "d"}, ge=0),
    ] = 0.0
    compress_days: Annotated[
        float,
        Meta(
            description="Age of what is compressed, on TimescaleDB Community; 0 is never.",
            extra={"unit": "d"},
            ge=0,
        ),
    ] = 30.0
    tidy_s: Annotated[
        float,
        Meta(description="Time between two looks for what is old.", extra={"unit": "s"}, gt=0),
    ] = 3600.0
    silent_intervals: Annotated[
        float,
        Meta(
            description="A device behind by so many of its intervals is silent.",
            extra={"unit": "intervals"},
            ge=1,
        ),
    ] = 5.0
    silence_grace_s: Annotated[
        float,
        Meta(description="A device that was heard so recently is not silent.", extra={"unit": "s"}, ge=0),
    ] = 5.0
    rejudge_series: Annotated[
        int,
        Meta(
            description="Series with late readings that one round judges again.",
            extra={"unit": "series"},
            ge=1,
        ),
    ] = 20
    rejudge_readings: Annotated[
        int,
        Meta(
            description="Readings of a series that are judged again at once; more are worked off in pieces.",
            extra={"unit": "readings"},
            ge=1000,
        ),
    ] = 1_000_000
    rejudge_days: Annotated[
        float,
        Meta(
            description="History that warms the judge up before a first late reading, at least 100 readings.",
            extra={"unit": "d"},
            ge=0,
        ),
    ] = 30.0
    rejudge_reach_days: Annotated[
        float,
        Meta(
            description="How long after the last late reading of a series it is judged again.",
            extra={"unit": "d"},
            gt=0,
        ),
    ] = 2.0
    rejudge_again_s: Annotated[
        float,
        Meta(
            description="Time until a series is judged once more where something is still open.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 300.0
    rejudge_cluster: Annotated[
        str,
        Meta(
            description="Dask scheduler (tcp://host:port) whose workers judge late readings again;"
            " empty: this process does."
        ),
    ] = ""
    several_every_s: Annotated[
        float,
        Meta(
            description="Time between two looks at all quantities of the sites.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 10.0
    several_history_days: Annotated[
        float,
        Meta(description="Good history that tells what is usual for a site.", extra={"unit": "d"}, gt=0),
    ] = 14.0
    several_reach_h: Annotated[
        float,
        Meta(
            description="How far back sites are judged when the service starts or catches up.",
            extra={"unit": "h"},
            gt=0,
        ),
    ] = 24.0
    several_apart_h: Annotated[
        float,
        Meta(
            description="Areas whose newest readings are further apart are judged without each other.",
            extra={"unit": "h"},
            gt=0,
        ),
    ] = 24.0
    several_cells: Annotated[
        int,
        Meta(
            description="Readings (5 min x sites x quantities) that judging sites holds in one array.",
            extra={"unit": "readings"},
            ge=100_000,
        ),
    ] = 8_000_000
    assess_every_s: Annotated[
        float,
        Meta(
            description="How often months are looked at, whether their assessments are to be made anew.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 600.0
    assess_months: Annotated[
        int,
        Meta(description="Newest months that are looked at.", extra={"unit": "months"}, ge=1),
    ] = 3
    index_file: Annotated[
        Path | None,
        Meta(description="TOML with the weights of the evaluation index; none is towntwin's own."),
    ] = None
    duty_policy_file: Annotated[
        Path | None,
        Meta(description="TOML with deadlines and escalation of incidents; none is towntwin's own."),
    ] = None
    secrets_folder: Annotated[
        Path | None,
        Meta(
            description="Folder with the secrets of notification channels, as AREA/NAME;"
            " without it, variables TOWNTWIN_SECRET_AREA_NAME."
        ),
    ] = None
    public_url: Annotated[
        str | None,
        Meta(
            description="Address under which people reach the gateway (https://…), for links in messages;"
            " without it messages have none.",
        ),
    ] = None
    acknowledge_link_h: Annotated[
        float,
        Meta(description="How long a link of acknowledgement is valid.", extra={"unit": "h"}, gt=0),
    ] = 24.0
    notify_networks: Annotated[
        list[str],
        Meta(
            description="Networks beside the public ones that webhooks may reach: CIDR blocks,"
            " comma-separated; none by default."
        ),
    ] = msgspec.field(default_factory=list)
    notify_certificates: Annotated[
        Path | None,
        Meta(description="PEM file of authorities that messengers and mail servers of your own use."),
    ] = None
    notify_give_up_h: Annotated[
        float,
        Meta(description="Time after which a notification is not tried again.", extra={"unit": "h"}, gt=0),
    ] = 24.0
    smtp_host: Annotated[str | None, Meta(description="Mail server; without it there is no e-mail.")] = None
    smtp_port: Annotated[int, Meta(description="Port of the mail server.", ge=1, le=65535)] = 587
    smtp_security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(description="How mails are protected: starttls, tls, or none for a server on this machine."),
    ] = "starttls"
    smtp_sender: Annotated[str, Meta(description="Address that mails come from.")] = "towntwin@localhost"
    smtp_user: Annotated[str | None, Meta(description="User at the mail server.")] = None
    smtp_password_file: Annotated[
        Path | None, Meta(description="File with the password at the mail server.")
    ] = None
    incidents_every_s: Annotated[
        float,
        Meta(
            description="How often incidents are kept up to date with the anomalies.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 5.0
    state_every_s: Annotated[
        float,
        Meta(
            description="How often the estimated state of the networks is stored for the dashboards; 0 is"
            " never.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 600.0
    forecast_every_s: Annotated[
        float,
        Meta(
            description="How often forecasts of sections and roads are stored for the dashboards; 0 is"
            " never.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 300.0
    forecast_series: Annotated[
        int,
        Meta(
            description="Series whose forecasts are stored at most, the most important quantities first.",
            extra={"unit": "series"},
            ge=1,
        ),
    ] = 200
    trace_every_s: Annotated[
        float,
        Meta(
            description="How often incidents on the river are looked at for a trace.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 3.0
    trace_again_s: Annotated[
        float,
        Meta(
            description="Time before the trace of an incident is revised, if its anomalies change.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 30.0
    trace_severity: Annotated[
        int, Meta(description="Incidents on the river of this severity and above are traced.", ge=1, le=3)
    ] = 2
    incident_operators: Annotated[
        int,
        Meta(
            description="People on duty at a time; alarms beyond what they can take wait.",
            ge=1,
        ),
    ] = 2
    priority_matrix: Annotated[
        str | None,
        Meta(description="File of the priority matrix of incidents (TOML); without one, the built-in one."),
    ] = None
    watch_every_s: Annotated[
        float,
        Meta(description="How often the platform itself is looked at.", extra={"unit": "s"}, gt=0),
    ] = 10.0
    watch_after_s: Annotated[
        float,
        Meta(
            description="A process that does not work, or a wrong clock, is an anomaly after so long.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 120.0
    watch_clear_s: Annotated[
        float,
        Meta(
            description="An anomaly of the platform is closed after it was over for so long.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 60.0
    watch_rollups_s: Annotated[
        float,
        Meta(
            description="Rollups that have been behind for so long are an anomaly.", extra={"unit": "s"}, gt=0
        ),
    ] = 900.0
    watch_dead_letters: Annotated[
        int,
        Meta(
            description="Dead letters within ten minutes that are an anomaly; half of that ends it.",
            extra={"unit": "dead letters"},
            ge=1,
        ),
    ] = 100
    watch_clock_s: Annotated[
        float,
        Meta(
            description="A clock of a device that is off by more is an anomaly; half of that ends it.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 300.0
    watch_certificates: Annotated[
        list[str],
        Meta(
            description="Certificates (PEM files, comma-separated) whose end is an anomaly 30 days before;"
            " none by default."
        ),
    ] = msgspec.field(default_factory=list)
    watch_backups: Annotated[
        Path | None,
        Meta(description="Folder of the backups (TOWNTWIN_BACKUP_TARGET) whose age is watched."),
    ] = None
    watch_disks: Annotated[
        list[str],
        Meta(
            description="Folders (comma-separated) whose disks are watched, such as that of the database;"
            " that of the backups is watched in any case."
        ),
    ] = msgspec.field(default_factory=list)
    watch_disk_bytes: Annotated[
        int,
        Meta(
            description="Free space of a watched disk below which it is an anomaly; twice that ends it.",
            extra={"unit": "bytes"},
            ge=0,
        ),
    ] = 2 << 30
    watch_backups_h: Annotated[
        float,
        Meta(description="Age of the last backup that is an anomaly.", extra={"unit": "h"}, gt=0),
    ] = 2.0
    stuck_s: Annotated[
        float,
        Meta(
            description="Health shows the process as stuck where a single task takes so long.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 900.0
    behind_s: Annotated[
        float,
        Meta(
            description="Health shows the process as behind where no round was completed for so long.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 600.0
    metrics_port: Annotated[
        int, Meta(description="Port of the Prometheus metrics on loopback; 0 is off.", ge=0, le=65535)
    ] = 0
