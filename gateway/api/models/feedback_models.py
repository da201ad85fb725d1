"""Request and response models of operators' feedback on anomalies."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.api.models.resource_models import ApiModel, UtcTime


class FeedbackRequest(ApiModel):
    """A verdict on an anomaly; ``withdraw`` revokes the one in force."""

    verdict: Literal["false-alarm", "confirmed", "withdraw"] = Field(examples=["false-alarm"])
    note: str = Field(default="", max_length=2000, examples=["a boat stirred up the mud"])


class FeedbackResponse(ApiModel):
    """A verdict on an anomaly, in force until it is withdrawn or replaced, and kept on record then."""

    feedback_id: int
    anomaly_id: int
    series_id: int | None
    verdict: Literal["false-alarm", "confirmed"]
    who: str
    note: str
    at: UtcTime
    stands: bool
    withdrawn: UtcTime | None
    withdrawn_by: str | None
    withdrawn_note: str | None


class FeedbackHistoryResponse(ApiModel):
    """All verdicts on an anomaly, oldest first, and the current shift of its series' score limits."""

    items: list[FeedbackResponse]
    score_shift: float = Field(
        description="−log10 of the false-alarm probability; positive where the series alarms later"
    )
