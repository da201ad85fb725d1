"""Response models of the directory, readings, anomalies and the twin. Times are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from analytics.service.missing_results import MissingCode  # at run time: pydantic resolves the annotation

if TYPE_CHECKING:
    from analytics.service.missing_results import MissingResult

T = TypeVar("T")


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


UtcTime = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str)]


def utc_datetime(time_s: float) -> datetime:
    """Return the datetime of Unix seconds [s], in UTC."""
    return datetime.fromtimestamp(time_s, UTC)


class ApiModel(BaseModel):
    """Base of all request and response models; rejects unknown fields."""

    model_config = ConfigDict(extra="forbid")


class PageResponse(ApiModel, Generic[T]):
    """A page of rows; ``next`` is the cursor of the following page, absent on the last one."""

    items: list[T]
    next: str | None = Field(default=None, examples=["MTc5MDAwMDAwMC4wOjQy"])


class AreaResponse(ApiModel):
    """An administrative area (行政区划)."""

    area_id: str = Field(examples=["330483"])
    parent: str | None = Field(examples=["330400"])
    level: Literal["city", "county", "town"]
    en: str = Field(examples=["Tongxiang"])
    zh: str = Field(examples=["桐乡市"])


class SiteResponse(ApiModel):
    """A site (站点)."""

    site_id: str = Field(examples=["330483-d1-r04"])
    area_id: str = Field(examples=["330483-d1"])
    kind: str = Field(examples=["river_section"])
    en: str
    zh: str
    lon: float = Field(description="WGS 84 [deg]")
    lat: float = Field(description="WGS 84 [deg]")
    external_id: str | None
    grid_cell: str | None
    target_class: int | None = Field(description="GB 3838 class aimed at, 1 to 5")
    demo: bool


class DeviceStatusResponse(ApiModel):
    """The last status message of a device."""

    received: UtcTime
    online: bool = Field(description="False is its last will, or an orderly stop")
    agent: str | None = None
    spool_depth: int | None = Field(default=None, description="Messages waiting for a receipt")
    evicted: int | None = Field(default=None, description="Messages that its spool had to let go")
    battery_v: float | None = Field(default=None, description="Supply voltage [V]")
    signal_dbm: float | None = Field(default=None, description="Strength of the radio link [dBm]")


class DeviceResponse(ApiModel):
    """An enrolled device that publishes, with the times of its newest reading and its last status."""

    device_id: str = Field(examples=["330483-d1-r04"])
    area_id: str = Field(examples=["330483-d1"])
    kind: str = Field(examples=["agent"])
    measured: UtcTime | None = Field(description="Of its newest reading")
    received: UtcTime | None = Field(description="When its newest reading came")
    clock_offset_s: float | None = Field(
        description="Its clock less the platform's, ahead positive [s]; null where it never told",
        examples=[-7200],
    )
    status: DeviceStatusResponse | None


class SeriesResponse(ApiModel):
    """One quantity at one site."""

    series_id: int = Field(examples=[12])
    site_id: str
    quantity: str = Field(examples=["dissolved_oxygen"])
    unit: str = Field(examples=["mg/L"])
    interval_s: float = Field(description="Expected time between readings [s]")
    en: str = Field(examples=["dissolved oxygen"])
    zh: str = Field(examples=["溶解氧"])


class QuantityResponse(ApiModel):
    """A quantity that can be measured."""

    name: str = Field(examples=["dissolved_oxygen"])
    symbol: str
    unit: str
    wire_unit: str = Field(description="SenML unit on the wire")
    low: float = Field(description="Plausible range, canonical unit")
    high: float
    domain: str
    hj212: str | None = Field(description="HJ 212 factor code")
    smart_data_model: str | None
    en: str
    zh: str


class ReadingResponse(ApiModel):
    """One stored value with its QARTOD flag and the rules behind it; expected ± 3 spread is the band."""

    measured: UtcTime
    received: UtcTime
    value: float
    quality: int = Field(description="1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing", examples=[1])
    rules: list[str] = Field(examples=[["RESIDUAL"]])
    expected: float | None
    spread: float | None


class SeriesReadingResponse(ReadingResponse):
    """A reading, with its series, site and quantity."""

    series_id: int = Field(examples=[12])
    site_id: str
    quantity: str
    unit: str


class PlotResponse(ApiModel):
    """A series thinned for a plot; every point is a stored reading."""

    series_id: int
    site_id: str
    quantity: str
    unit: str
    method: Literal["lttb", "minmax"]
    readings: int = Field(description="How many there were")
    points: list[ReadingResponse]


class LatestResponse(ReadingResponse):
    """The newest reading of a series, and its age."""

    series_id: int
    site_id: str
    quantity: str
    unit: str
    age_s: float = Field(description="Now less measured [s]")


class BucketResponse(ApiModel):
    """A series aggregated over a time bucket; min, max and mean are over good readings (flag 1 or 2)."""

    begins: UtcTime
    count: int
    good: int
    min: float | None
    max: float | None
    mean: float | None


class AnomalyResponse(ApiModel):
    """One physical event at one series, device or site."""

    anomaly_id: int = Field(examples=[42])
    site_id: str
    series_id: int | None
    device_id: str | None
    quantity: str | None = Field(examples=["ammonia_nitrogen"])
    unit: str | None
    detector: str = Field(examples=["residual"])
    version: str
    state: Literal["open", "closed", "withdrawn"]
    severity: int = Field(description="1 notice, 2 warning, 3 alarm", examples=[2])
    start: UtcTime
    end: UtcTime | None
    peak: UtcTime
    observed: float | None
    expected: float | None
    spread: float | None
    score: float
    n_readings: int
    reason_en: str
    reason_zh: str
    evidence: dict[str, Any]


class MissingResultResponse(ApiModel):
    """Why a result is missing, and what would change that."""

    code: MissingCode
    en: str
    zh: str


def missing_response(one: MissingResult | None) -> MissingResultResponse | None:
    """Return the reason for a missing result as a model; None where it is not missing."""
    return None if one is None else MissingResultResponse(code=one.code, en=one.en, zh=one.zh)


class SensorVerdictResponse(ApiModel):
    """Whether what a sensor measured is an event on the network, or a fault of the sensor.

    It is computed anew while readings of the sensors downstream come, for a day; on roads for an hour.
    """

    series_id: int = Field(description="Of the sensor; of a site's event, the one that departed most")
    verdict: Literal["event", "sensor_fault", "undecided"] = Field(
        description="Named from a probability of 0.8 on, and with other sensors alone"
    )
    event_probability: float = Field(
        ge=0, le=1, description="The rest is the probability of a fault of the sensor", examples=[0.97]
    )
    sensors: int = Field(description="Other sensors that it is compared with", examples=[3])
    site_ids: list[str] = Field(description="Their sites that you may see, the nearest first")
    computed: UtcTime
    final: bool = Field(description="Whether it is not computed anew any more")
    en: str
    zh: str


class ListedAnomalyResponse(AnomalyResponse):
    """An anomaly of a list, with the name and probability of the verdict on its sensor."""

    verdict_on_sensor: Literal["event", "sensor_fault", "undecided"] | None = Field(
        description="Null where there is none; the anomaly by itself has more of it in `sensor_verdict`, and "
        "the reason for none in `sensor_verdict_missing`"
    )
    event_probability: float | None = Field(
        description="The rest is the probability of a fault of the sensor; null with `verdict_on_sensor`",
        examples=[0.97],
    )


class VerifiedAnomalyResponse(AnomalyResponse):
    """An anomaly with the verdict on its sensor."""

    sensor_verdict: SensorVerdictResponse | None = Field(
        description="Null where there is none; `sensor_verdict_missing` has the reason"
    )
    sensor_verdict_missing: MissingResultResponse | None = Field(
        default=None, description="Why there is no verdict; null where there is one"
    )


class TraceCandidateResponse(ApiModel):
    """An upstream node where the anomaly may originate; it left there between the two times."""

    node_id: str
    site_id: str | None
    kind: str
    en: str
    zh: str
    distance_m: float
    travel_s: float
    left_from: UtcTime
    left_to: UtcTime
    likelihood: float = Field(
        description="Fit of the travel time alone, with three decimals; sums to 1 over the candidates",
        examples=[0.143],
    )
    links: list[str]


class PosteriorCandidateResponse(ApiModel):
    """A possible source of a release; ranges hold 90 % of the probability."""

    node_id: str
    en: str
    zh: str
    kind: str
    probability: float = Field(
        description="Given the readings; sums to 1 over all candidates", examples=[0.82]
    )
    released_from: UtcTime
    released: UtcTime
    released_to: UtcTime
    duration_s: float = Field(description="Median duration of the release [s]")
    amount_kg: tuple[float, float, float] | None = Field(
        description="Quantiles 5, 50, 95 % of the amount [kg]: not calibrated, often too low; null where no "
        "discharge of that river was measured in the time"
    )
    group: int = Field(
        description="Candidates of one group can't be distinguished by these readings; 0 is the likeliest"
    )


class SuggestedSampleResponse(ApiModel):
    """Place and time of one more sample that would separate the candidates best."""

    node_id: str
    time: UtcTime
    gain: float = Field(description="0 separates nothing, 1 separates all pairs of candidates")


class DownstreamArrivalResponse(ApiModel):
    """Expected arrival of the release at a site downstream; bands hold 80 % of the releases drawn."""

    node_id: str
    site_id: str
    en: str
    zh: str
    probability: float = Field(description="That the release reaches the site in the time computed, 36 h")
    arrival: UtcTime = Field(description="Median of the first time with 10% of the site's own peak")
    arrival_from: UtcTime
    arrival_to: UtcTime
    peak: UtcTime = Field(description="Median time of the greatest concentration")
    peak_mg_l: float = Field(description="Greatest concentration above the expected value, median [mg/L]")
    peak_band_mg_l: tuple[float, float]


class SourcePosteriorResponse(ApiModel):
    """Posterior over outfalls and inflows, likeliest first, from concentrations at all sensors upstream."""

    quantity: str
    candidates: list[PosteriorCandidateResponse]
    credible_90: list[str] = Field(
        description="The likeliest candidates, with 90 % of the probability as nearly as whole ones have"
    )
    n_detects: int
    n_non_detects: int = Field(description="Readings not above the expected value: evidence, too")
    sensors: list[str]
    fit: float = Field(description="Share of the detected concentrations that the best candidate explains")
    extra_sample: SuggestedSampleResponse | None = Field(
        description="Null where there is none; `extra_sample_missing` has the reason"
    )
    extra_sample_missing: MissingResultResponse | None = Field(
        default=None, description="Why no sample is suggested; null where one is, and in old traces"
    )
    arrivals: list[DownstreamArrivalResponse] = Field(
        description="At sites below that of the anomaly, earliest first; in the past where it has passed"
    )
    arrivals_missing: MissingResultResponse | None = Field(
        default=None, description="Why there are no `arrivals`; null where there are, and in old traces"
    )


class TraceResponse(ApiModel):
    """Possible upstream origins of an anomaly; outfalls first."""

    anomaly_id: int
    node_id: str | None = Field(description="Node of its site; null where that is on no river")
    seen: UtcTime
    candidates: list[TraceCandidateResponse] = Field(
        description="By travel time; where it is empty, the explanation has the reason"
    )
    equally_likely: bool = Field(
        description="Whether all of several candidates have the same likelihood: nodes that are not listed "
        "are excluded by their travel time, and those that are listed are not distinguished"
    )
    explanation_en: str
    explanation_zh: str
    posterior: SourcePosteriorResponse | None = Field(
        default=None,
        description="From concentrations, with uncertain velocities and dispersion; null where "
        "`posterior_missing` has a reason",
    )
    posterior_missing: MissingResultResponse | None = Field(
        default=None, description="Why there is no `posterior`; null where there is one"
    )


class MeasuredResponse(ApiModel):
    """The newest reading of a series of a node."""

    series_id: int
    quantity: str
    unit: str
    value: float
    expected: float | None = Field(description="Null while the judge warms up")
    spread: float | None = Field(description="Null with `expected`")
    quality: int
    rules: list[str]
    measured: UtcTime
    age_s: float


class NodeStateResponse(ApiModel):
    """The current state of a node of the twin."""

    node_id: str
    network: str
    site_id: str | None
    status: Literal["ok", "suspect", "anomaly", "silent", "warming", "unknown"]
    open_anomalies: list[int]
    measured: list[MeasuredResponse] = Field(
        description="Empty at a node without a site, or whose site never sent a reading"
    )


class LinkStateResponse(ApiModel):
    """The current state of a link."""

    link_id: str
    network: str
    status: Literal["ok", "suspect", "anomaly", "silent", "warming", "unknown"]
    open_anomalies: list[int]
    travel_s: float
    congestion: float | None = Field(
        description="Speed over free-flow speed; null on rivers, and without a measured speed at its ends"
    )


class TwinStateResponse(ApiModel):
    """The current state of every node and link."""

    now: UtcTime
    nodes: list[NodeStateResponse]
    links: list[LinkStateResponse]


class NetworkResponse(BaseModel):
    """A GeoJSON FeatureCollection (RFC 7946)."""

    type: Literal["FeatureCollection"]
    features: list[dict[str, Any]]
