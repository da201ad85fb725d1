"""The time range of a request; the last day where none is given."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import moments
from gateway.problems import ProblemError

if TYPE_CHECKING:
    from datetime import datetime

    from ingest_service.storage.answers import Moment

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of time [us], and the moment as of which it is asked for; None is now."""

    from_us: int
    to_us: int
    again: Moment | None

    def token(self, moment: Moment) -> str:
        """What makes the same answer again."""
        return moments.encode(moment, self.from_us, self.to_us)


def of(from_: datetime | None, to: datetime | None, reproduce: str | None) -> Stretch:
    """What is asked for. Raises `ProblemError` where it ends before it begins, or the token is none."""
    token = moments.decode(reproduce) if reproduce else None
    moment = token.moment if token else None
    if token is not None and token.to_us and from_ is to is None:
        return Stretch(token.from_us, token.to_us, moment)
    to_s = to.timestamp() if to else moment.at_us / 1e6 if moment else time.time()
    from_s = from_.timestamp() if from_ else to_s - DAY_S
    if from_s >= to_s:
        raise ProblemError(422, "from: must be before to", where="from")
    return Stretch(round(from_s * 1e6), round(to_s * 1e6), moment)
