"""Converts rows of the store (devices, readings, anomalies, twin state) to response models of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import numpy as np

from analytics.quality.verdict_text import verdict_text
from analytics.service import missing_results
from analytics.service.missing_results import MissingResult
from edge.wire.quantities import QUANTITIES
from gateway.api.models import judging_models, resource_models
from gateway.api.models.resource_models import missing_response, utc_datetime
from gateway.api.models.row_models import LIKELIHOOD_DECIMALS, quantity_and_unit, rule_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from analytics.service import downstream_arrivals, network_state, source_posterior
    from gateway.api.directory_cache import DirectoryIndex
    from ingest_service.storage.contract.incidents import IncidentAnomaly
    from ingest_service.storage.contract.models import (
        Anomaly,
        Device,
        DeviceActivity,
        DeviceStatus,
        NewestReading,
        Series,
    )
    from ingest_service.storage.contract.sensor_verdicts import StoredVerdict

AnomalyModel = TypeVar(
    "AnomalyModel",
    resource_models.AnomalyResponse,
    resource_models.VerifiedAnomalyResponse,
    judging_models.JudgedAnomalyResponse,
)
US_PER_S = 1e6


def device_response(
    one: Device, activity: DeviceActivity | None, device_status: DeviceStatus | None
) -> resource_models.DeviceResponse:
    """Return a device with its last activity and status."""
    measured_s, received_s = (activity.measured_s, activity.received_s) if activity else (None, None)
    return resource_models.DeviceResponse(
        **msgspec.structs.asdict(one),
        measured=None if measured_s is None else utc_datetime(measured_s),
        received=None if received_s is None else utc_datetime(received_s),
        clock_offset_s=device_status.clock_offset_s if device_status else None,
        status=None if device_status is None else _status_response(device_status),
    )


def series_response(one: Series) -> resource_models.SeriesResponse:
    """Return a series with the unit and labels of its quantity."""
    quantity = QUANTITIES[one.quantity]
    return resource_models.SeriesResponse(
        series_id=one.series_id,
        site_id=one.site_id,
        quantity=one.quantity,
        unit=quantity.unit,
        interval_s=one.interval_s,
        en=quantity.en,
        zh=quantity.zh,
    )


def reading_responses(rows: NDArray[np.void]) -> list[resource_models.ReadingResponse]:
    """Return READING rows as models."""
    return [
        resource_models.ReadingResponse(
            measured=utc_datetime(time_us / US_PER_S),
            received=utc_datetime(received_us / US_PER_S),
            value=value,
            quality=quality,
            rules=rule_names(bits),
            expected=None if np.isnan(expected) else expected,
            spread=None if np.isnan(spread) else spread,
        )
        for _, time_us, received_us, value, expected, spread, quality, bits in rows.tolist()
    ]


def latest_response(
    one: NewestReading, directory_index: DirectoryIndex, now_s: float
) -> resource_models.LatestResponse:
    """Return the newest reading of a series, with its age at ``now_s``."""
    series = directory_index.series[one.series_id]
    return resource_models.LatestResponse(
        series_id=one.series_id,
        site_id=series.site_id,
        quantity=series.quantity,
        unit=QUANTITIES[series.quantity].unit,
        measured=utc_datetime(one.time_s),
        received=utc_datetime(one.received_s),
        value=one.value,
        quality=one.quality,
        rules=rule_names(one.rules),
        expected=one.expected,
        spread=one.spread,
        age_s=round(now_s - one.time_s, 3),
    )


def anomaly_response(one: Anomaly, directory_index: DirectoryIndex) -> resource_models.AnomalyResponse:
    """Return an anomaly with the quantity and unit of its series."""
    quantity, unit = quantity_and_unit(one.series_id, directory_index)
    return _anomaly_model(resource_models.AnomalyResponse, one, quantity=quantity, unit=unit)


def verified_anomaly_response(
    one: Anomaly, directory_index: DirectoryIndex, stored: StoredVerdict | None
) -> resource_models.VerifiedAnomalyResponse:
    """Return an anomaly with the quantity and unit of its series, and the verdict on its sensor."""
    quantity, unit = quantity_and_unit(one.series_id, directory_index)
    verdict = sensor_verdict_response(stored, directory_index)
    return _anomaly_model(
        resource_models.VerifiedAnomalyResponse,
        one,
        quantity=quantity,
        unit=unit,
        sensor_verdict=verdict,
        sensor_verdict_missing=None if verdict else verdict_missing_response(one, stored, directory_index),
    )


def sensor_verdict_response(
    one: StoredVerdict | None, directory_index: DirectoryIndex
) -> resource_models.SensorVerdictResponse | None:
    """Return a verdict as a model; None without one, and where none can be computed."""
    if one is None or one.event_probability is None or one.series_id is None:
        return None
    text = verdict_text(one.event_probability, len(one.others))
    return resource_models.SensorVerdictResponse(
        series_id=one.series_id,
        verdict=text.name,
        event_probability=round(one.event_probability, LIKELIHOOD_DECIMALS),
        sensors=len(one.others),
        site_ids=[site for site in one.others if site in directory_index.sites],
        computed=utc_datetime(one.computed_s),
        final=one.is_final,
        en=text.en,
        zh=text.zh,
    )


def verdict_missing_response(
    one: Anomaly | IncidentAnomaly, stored: StoredVerdict | None, directory_index: DirectoryIndex
) -> resource_models.MissingResultResponse | None:
    """Return why there is no verdict on the sensor of an anomaly."""
    found = missing_results.missing_verdict(one.site_id, one.device_id, stored, directory_index.directory)
    return missing_response(found)


def judged_anomaly_response(one: Anomaly) -> judging_models.JudgedAnomalyResponse:
    """Return an anomaly that is not stored."""
    return _anomaly_model(judging_models.JudgedAnomalyResponse, one)


def _anomaly_model(model: type[AnomalyModel], one: Anomaly, **values: Any) -> AnomalyModel:
    """Return an anomaly as a model; ``values`` are the fields that `Anomaly` does not have."""
    values |= {
        "start": utc_datetime(one.start_s),
        "end": None if one.end_s is None else utc_datetime(one.end_s),
        "peak": utc_datetime(one.peak_s),
    }
    return model(
        **{name: values[name] if name in values else getattr(one, name) for name in model.model_fields}
    )


def trace_response(
    one: network_state.UpstreamTrace, posterior: source_posterior.SourcePosteriorAnswer | MissingResult
) -> resource_models.TraceResponse:
    """Return an upstream trace as a model, with the posterior over sources or why there is none."""
    candidates = []
    for candidate in one.candidates:
        row = msgspec.structs.asdict(candidate)
        row |= {
            "left_from": utc_datetime(round(row.pop("left_from_s"))),
            "left_to": utc_datetime(round(row.pop("left_to_s"))),
            "distance_m": round(candidate.distance_m),
            "travel_s": round(candidate.travel_s),
            "likelihood": round(candidate.likelihood, LIKELIHOOD_DECIMALS),
        }
        candidates.append(resource_models.TraceCandidateResponse(**row))
    return resource_models.TraceResponse(
        anomaly_id=one.anomaly_id,
        node_id=one.node_id,
        seen=utc_datetime(one.seen_s),
        candidates=candidates,
        equally_likely=one.equally_likely,
        explanation_en=one.explanation_en,
        explanation_zh=one.explanation_zh,
        posterior=None if isinstance(posterior, MissingResult) else posterior_response(posterior),
        posterior_missing=missing_response(posterior) if isinstance(posterior, MissingResult) else None,
    )


def posterior_response(
    one: source_posterior.SourcePosteriorAnswer,
) -> resource_models.SourcePosteriorResponse:
    """Return a posterior over sources as a model."""
    candidates = []
    for candidate in one.candidates:
        row = msgspec.structs.asdict(candidate)
        del row["modelled_kg"]  # no amount to be reported where no discharge was measured
        row |= {
            "released_from": utc_datetime(round(row.pop("released_from_s"))),
            "released": utc_datetime(round(row.pop("released_s"))),
            "released_to": utc_datetime(round(row.pop("released_to_s"))),
            "probability": round(candidate.probability, LIKELIHOOD_DECIMALS),
            "amount_kg": candidate.amount_kg and tuple(float(f"{kg:.2g}") for kg in candidate.amount_kg),
        }
        candidates.append(resource_models.PosteriorCandidateResponse(**row))
    sample = one.extra_sample
    return resource_models.SourcePosteriorResponse(
        quantity=one.quantity,
        candidates=candidates,
        credible_90=one.credible_90,
        n_detects=one.n_detects,
        n_non_detects=one.n_non_detects,
        sensors=one.sensors,
        fit=round(one.fit, LIKELIHOOD_DECIMALS),
        extra_sample=None
        if sample is None
        else resource_models.SuggestedSampleResponse(
            node_id=sample.node_id,
            time=utc_datetime(round(sample.time_s)),
            gain=round(sample.gain, LIKELIHOOD_DECIMALS),
        ),
        extra_sample_missing=missing_response(one.sample_missing),
        arrivals=[_arrival_response(arrival) for arrival in one.arrivals],
        arrivals_missing=missing_response(one.arrivals_missing),
    )


def _arrival_response(
    one: downstream_arrivals.DownstreamArrival,
) -> resource_models.DownstreamArrivalResponse:
    early_s, late_s = one.arrival_band_s
    low, high = one.peak_band_mg_l
    return resource_models.DownstreamArrivalResponse(
        node_id=one.node_id,
        site_id=one.site_id,
        en=one.en,
        zh=one.zh,
        probability=round(one.probability, 2),
        arrival=utc_datetime(round(one.arrival_s)),
        arrival_from=utc_datetime(round(early_s)),
        arrival_to=utc_datetime(round(late_s)),
        peak=utc_datetime(round(one.peak_s)),
        peak_mg_l=float(f"{one.peak_mg_l:.2g}"),
        peak_band_mg_l=(float(f"{low:.2g}"), float(f"{high:.2g}")),
    )


def twin_state_response(one: network_state.TwinState) -> resource_models.TwinStateResponse:
    """Return the state of all nodes and links as a model."""
    return resource_models.TwinStateResponse(
        now=utc_datetime(one.now_s),
        nodes=[
            resource_models.NodeStateResponse(
                **(
                    msgspec.structs.asdict(node)
                    | {"measured": [_measured_response(reading) for reading in node.measured]}
                )
            )
            for node in one.nodes
        ],
        links=[resource_models.LinkStateResponse(**msgspec.structs.asdict(link)) for link in one.links],
    )


def _status_response(device_status: DeviceStatus) -> resource_models.DeviceStatusResponse:
    shown_fields = resource_models.DeviceStatusResponse.model_fields.keys() & device_status.status.keys()
    return resource_models.DeviceStatusResponse(
        received=utc_datetime(device_status.received_s),
        **{name: device_status.status[name] for name in shown_fields},
    )


def _measured_response(one: network_state.MeasuredQuantity) -> resource_models.MeasuredResponse:
    return resource_models.MeasuredResponse(
        series_id=one.series_id,
        quantity=one.quantity,
        unit=one.unit,
        value=one.value,
        expected=one.expected,
        spread=one.spread,
        quality=one.quality,
        rules=rule_names(one.rules),
        measured=utc_datetime(one.time_s),
        age_s=one.age_s,
    )
