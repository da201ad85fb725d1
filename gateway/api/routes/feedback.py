"""Routes to give, withdraw and list operators' verdicts on an anomaly, which shift score limits."""

from __future__ import annotations

from typing import Annotated

import msgspec
import structlog
from fastapi import APIRouter

from gateway.api import query_params
from gateway.api.models import feedback_models as models
from gateway.api.models.resource_models import utc_datetime
from gateway.api.problems import ProblemError, not_found, problem_responses
from gateway.api.request_context import CurrentContext, RequestContext
from gateway.auth.authorization import ANOMALIES, OPERATOR, RequiredRight, requires
from ingest_service.storage.contract.models import Anomaly, Feedback

router = APIRouter(prefix="/v1/anomalies/{anomaly_id}/feedback", tags=["anomalies"])
log = structlog.get_logger()

AnomalyIdParam = Annotated[int, query_params.ID_PATH]


@router.get("", responses=problem_responses(404))
@requires(ANOMALIES)
def feedback(context: CurrentContext, anomaly_id: AnomalyIdParam) -> models.FeedbackHistoryResponse:
    """All verdicts on an anomaly, oldest first, the withdrawn ones included."""
    return _feedback_history(context, _visible_anomaly(context, anomaly_id))


@router.post("", responses=problem_responses(404, 409))
@requires(RequiredRight(OPERATOR, "feedback"))
def give(
    context: CurrentContext, anomaly_id: AnomalyIdParam, feedback_request: models.FeedbackRequest
) -> models.FeedbackHistoryResponse:
    """Mark an anomaly as false alarm or confirmed, or withdraw that; ingest applies it within seconds."""
    anomaly = _visible_anomaly(context, anomaly_id)
    if feedback_request.verdict == "withdraw":
        if not context.store.withdraw_feedback(
            anomaly_id, who=context.caller_name, note=feedback_request.note
        ):
            raise ProblemError(409, f"nothing stands of anomaly {anomaly_id} that could be withdrawn")
    else:
        context.store.give_feedback(
            anomaly_id, feedback_request.verdict, who=context.caller_name, note=feedback_request.note
        )
    context.add_audit_detail(verdict=feedback_request.verdict)
    log.info("feedback", anomaly=anomaly_id, verdict=feedback_request.verdict, who=context.caller_name)
    return _feedback_history(context, anomaly)


def _visible_anomaly(context: RequestContext, anomaly_id: int) -> Anomaly:
    stored_anomaly = context.store.anomaly(anomaly_id)
    if stored_anomaly is None:
        raise not_found("anomaly", anomaly_id)
    return stored_anomaly


def _feedback_history(context: RequestContext, anomaly: Anomaly) -> models.FeedbackHistoryResponse:
    """Return the feedback with the score shift as stored; the cached directory may be a second old."""
    series = {one.series_id: one for one in context.store.directory().series}
    return models.FeedbackHistoryResponse(
        items=[_feedback_response(one) for one in context.store.feedback(anomaly_id=anomaly.anomaly_id)],
        score_shift=series[anomaly.series_id].score_shift if anomaly.series_id else 0.0,
    )


def _feedback_response(one: Feedback) -> models.FeedbackResponse:
    row = msgspec.structs.asdict(one)
    at_s, withdrawn_s = row.pop("at_s"), row.pop("withdrawn_s")
    withdrawn = None if withdrawn_s is None else utc_datetime(withdrawn_s)
    return models.FeedbackResponse(
        **row, at=utc_datetime(at_s), stands=withdrawn is None, withdrawn=withdrawn
    )
