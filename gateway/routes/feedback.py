"""Routes of operators' feedback on anomalies, which adjusts the limits of a series."""

from __future__ import annotations

from typing import Annotated

import msgspec
import structlog
from fastapi import APIRouter

from gateway import feedback_models as models
from gateway import params
from gateway.context import Context, Here
from gateway.models import at
from gateway.problems import ProblemError, not_found, responses
from ingest_service.storage.model import Anomaly, Feedback

router = APIRouter(prefix="/v1/anomalies/{anomaly_id}/feedback", tags=["anomalies"])
log = structlog.get_logger()

AnomalyId = Annotated[int, params.Identifier]


@router.get("", responses=responses(404))
def feedback(here: Here, anomaly_id: AnomalyId) -> models.Opinions:
    """All that was said of an anomaly, oldest first; what was withdrawn stays on record."""
    return _opinions(here, _anomaly(here, anomaly_id))


@router.post("", responses=responses(404, 409))
def give(here: Here, anomaly_id: AnomalyId, said: models.Opinion) -> models.Opinions:
    """Call an anomaly a false alarm, confirm it, or take that back; ingest follows within seconds."""
    of = _anomaly(here, anomaly_id)
    if said.verdict == "withdraw":
        if not here.store.withdraw_feedback(anomaly_id, who=here.name, note=said.note):
            raise ProblemError(409, f"nothing stands of anomaly {anomaly_id} that could be withdrawn")
    else:
        here.store.give_feedback(anomaly_id, said.verdict, who=here.name, note=said.note)
    here.note(verdict=said.verdict)
    log.info("feedback", anomaly=anomaly_id, verdict=said.verdict, who=here.name)
    return _opinions(here, of)


def _anomaly(here: Context, anomaly_id: int) -> Anomaly:
    found = here.store.anomaly(anomaly_id)
    if found is None:
        raise not_found("anomaly", anomaly_id)
    return found


def _opinions(here: Context, of: Anomaly) -> models.Opinions:
    """As the store has it, for the directory that is kept here may be a second old."""
    series = {one.series_id: one for one in here.store.directory().series}
    return models.Opinions(
        items=[_shown(one) for one in here.store.feedback(anomaly_id=of.anomaly_id)],
        score_shift=series[of.series_id].score_shift if of.series_id else 0.0,
    )


def _shown(one: Feedback) -> models.Feedback:
    row = msgspec.structs.asdict(one)
    at_s, withdrawn_s = row.pop("at_s"), row.pop("withdrawn_s")
    withdrawn = None if withdrawn_s is None else at(withdrawn_s)
    return models.Feedback(**row, at=at(at_s), stands=withdrawn is None, withdrawn=withdrawn)
