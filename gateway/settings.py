"""Defines the gateway's settings: addresses, time-outs, rate limits, OIDC, page sizes and live streams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the gateway: address, limits, authentication, page sizes and live streams."""

    host: Annotated[str, Meta(description="Address that it listens on.")] = "127.0.0.1"
    port: Annotated[int, Meta(description="Port that it listens on.", ge=1, le=65535)] = 8080
    tls_cert: Annotated[
        Path | None,
        Meta(
            description="Certificate (PEM, with its chain) by which it serves HTTPS; loaded again when it"
            " changes. Without one it serves HTTP."
        ),
    ] = None
    tls_key: Annotated[Path | None, Meta(description="Key of that certificate (PEM, not encrypted).")] = None
    body_bytes: Annotated[
        int, Meta(description="Size of a request's body at most.", extra={"unit": "bytes"}, ge=1)
    ] = 8_388_608
    body_s: Annotated[
        float, Meta(description="Time within which a body has to come.", extra={"unit": "s"}, gt=0)
    ] = 30.0
    head_s: Annotated[
        float,
        Meta(description="Time within which the head of a request has to come.", extra={"unit": "s"}, gt=0),
    ] = 10.0
    stalled_s: Annotated[
        float,
        Meta(
            description="A client that reads nothing for so long is let go.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 60.0
    requests_per_s: Annotated[
        float,
        Meta(
            description="Requests of one key, or of one address without a key.", extra={"unit": "1/s"}, gt=0
        ),
    ] = 100.0
    requests_burst: Annotated[
        int, Meta(description="Requests that may come at once beyond that.", extra={"unit": "requests"}, ge=1)
    ] = 500
    requests_per_key: Annotated[
        int,
        Meta(description="Requests of one key that are worked on at once.", extra={"unit": "requests"}, ge=1),
    ] = 4
    requests_at_once: Annotated[
        int,
        Meta(
            description="Requests of all keys that are worked on at once.", extra={"unit": "requests"}, ge=1
        ),
    ] = 32
    heavy_per_key: Annotated[
        int,
        Meta(
            description="Exports, plots, reports, SensorThings, posted series: those of one key at once.",
            extra={"unit": "requests"},
            ge=1,
        ),
    ] = 1
    heavy_at_once: Annotated[
        int, Meta(description="Those of all keys at once.", extra={"unit": "requests"}, ge=1)
    ] = 2
    heavy_process: Annotated[
        bool,
        Meta(description="A process of their own answers them, at a lower priority; it takes some 150 MB."),
    ] = True
    heavy_share: Annotated[
        float,
        Meta(description="Time that those of one key may take, of each second that passes.", gt=0),
    ] = 0.5
    heavy_burst_s: Annotated[
        float, Meta(description="Time that they may take at once beyond that.", extra={"unit": "s"}, gt=0)
    ] = 60.0
    public_url: Annotated[
        str | None,
        Meta(
            description="Address under which clients reach the gateway (https://…), for links in answers;"
            " none takes it from each request."
        ),
    ] = None
    trusted_proxies: Annotated[
        list[str],
        Meta(
            description="Reverse proxies whose X-Forwarded-For, -Proto and -Host, or Forwarded, count:"
            " addresses or CIDR blocks, comma-separated; none by default."
        ),
    ] = msgspec.field(default_factory=list)
    cors_origins: Annotated[
        list[str],
        Meta(description="Origins whose pages may ask, comma-separated (https://…); none by default."),
    ] = msgspec.field(default_factory=list)
    oidc_issuer: Annotated[
        str | None, Meta(description="OpenID provider whose tokens are taken, by its issuer address.")
    ] = None
    oidc_audience: Annotated[str, Meta(description="Audience that its tokens must be for.")] = "towntwin"
    oidc_role_claim: Annotated[str, Meta(description="Claim that names the role.")] = "towntwin_role"
    oidc_area_claim: Annotated[str, Meta(description="Claim that names the areas; * is everything.")] = (
        "towntwin_area"
    )
    oidc_team_claim: Annotated[str, Meta(description="Claim that names the team of a team member.")] = (
        "towntwin_team"
    )
    oidc_link_by_email: Annotated[
        bool,
        Meta(
            description="Link a token to the member of a team who has its verified e-mail address; "
            "turn it off where people choose their address at the provider."
        ),
    ] = True
    oidc_key_days: Annotated[
        float,
        Meta(
            description="How much longer than a token the keys may last that its bearer makes.",
            extra={"unit": "d"},
            ge=0,
        ),
    ] = 0.0
    priority_matrix: Annotated[
        str | None,
        Meta(description="File of the priority matrix of incidents (TOML); without one, the built-in one."),
    ] = None
    photo_bytes: Annotated[
        int, Meta(description="Size of an incident's photo at most.", extra={"unit": "bytes"}, ge=1)
    ] = 8_000_000
    photo_pixels: Annotated[
        int,
        Meta(
            description="Longer side of a stored photo at most; larger ones are scaled down.",
            extra={"unit": "px"},
            ge=64,
        ),
    ] = 1600
    device_broker: Annotated[
        str | None,
        Meta(description="Broker of enrolled devices with a password, as they reach it: mqtts://host:8883."),
    ] = None
    device_certificate_broker: Annotated[
        str | None,
        Meta(
            description="Broker of enrolled devices with a certificate, as they reach its listener for"
            " certificates: mqtts://host:8884; none is the broker of those with a password."
        ),
    ] = None
    device_ca: Annotated[
        Path | None,
        Meta(description="Certificate of the authority (PEM) of that broker, which enrolled devices get."),
    ] = None
    broker_access: Annotated[
        Literal["managed", "none"],
        Meta(
            description="Whether `towntwin access` manages the broker's users: `none` for a broker without"
            " access control, where enrolment gives devices a name and no protection."
        ),
    ] = "managed"
    page_rows: Annotated[int, Meta(description="Rows in one page at most.", extra={"unit": "rows"}, ge=1)] = (
        10_000
    )
    export_wait_s: Annotated[
        float,
        Meta(
            description="How long an export that has begun waits for a database that is away.",
            extra={"unit": "s"},
            ge=0,
        ),
    ] = 60.0
    live_poll_s: Annotated[
        float,
        Meta(description="How often live streams look for news.", extra={"unit": "s"}, gt=0),
    ] = 0.2
    live_waiting: Annotated[
        int,
        Meta(
            description="News that wait for a slow reader, before its stream ends.",
            extra={"unit": "news"},
            ge=10,
        ),
    ] = 1000
    heartbeat_s: Annotated[
        float, Meta(description="A quiet stream says so that often.", extra={"unit": "s"}, gt=0)
    ] = 5.0
    stuck_s: Annotated[
        float,
        Meta(
            description="Health shows the process as stuck where its event loop hangs for so long.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 15.0
    trace_window_s: Annotated[
        float,
        Meta(
            description="How far back a trace looks, where the query does not say.", extra={"unit": "s"}, gt=0
        ),
    ] = 86_400.0
    forecast_models: Annotated[
        int,
        Meta(
            description="Series whose trained forecasts are kept; the least recently used are dropped.",
            extra={"unit": "series"},
            ge=1,
        ),
    ] = 1000
    forecast_renew_s: Annotated[
        float,
        Meta(description="Age at which a forecast is trained again.", extra={"unit": "s"}, gt=0),
    ] = 21_600.0
    replica: Annotated[
        str | None,
        Meta(
            description="Streaming replica of the database for readings, plots, exports and SensorThings of"
            " keys that are restricted to no area: postgresql://user:password@host:port/name.",
            extra={"password": "not by flag"},
        ),
    ] = None
    replica_wait_s: Annotated[
        float,
        Meta(
            description="How long a request waits until the replica has what the database had when it came;"
            " then the database answers.",
            extra={"unit": "s"},
            gt=0,
        ),
    ] = 0.5
    map_tiles: Annotated[
        str | None,
        Meta(
            description="Tile server of the console's base map, an address with {z}, {x} and {y}; without it"
            " the map shows the networks of the site files."
        ),
    ] = None
    map_pmtiles: Annotated[
        str | None,
        Meta(description="PMTiles file of the console's base map: images, or vectors as of Protomaps."),
    ] = None
    map_attribution: Annotated[
        str, Meta(description="Who made the base map: shown on it, as its licence requires.")
    ] = ""
