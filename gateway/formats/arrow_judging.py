"""Arrow schema and batch of a judged uploaded series; imported at the first response that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gateway.api.models import row_models
from gateway.formats.arrow_columns import TIME_TYPE

if TYPE_CHECKING:
    from analytics.service import backtest

JUDGED_SCHEMA = pa.schema(
    [
        ("measured", TIME_TYPE),
        ("value", pa.float64()),
        ("quality", pa.uint8()),
        ("rules", pa.list_(pa.string())),
        ("expected", pa.float32()),
        ("spread", pa.float32()),
        ("score", pa.float32()),
    ]
)


def judged_batch(judged_series: backtest.JudgedHistory) -> pa.RecordBatch:
    """Return the readings of a judged series as a batch."""
    rule_bits, bits_index = np.unique(judged_series.rules, return_inverse=True)
    names = pa.array([row_models.rule_names(one) for one in rule_bits.tolist()], pa.list_(pa.string()))
    columns = [
        pa.array(np.rint(judged_series.time_s * 1e6).astype(np.int64)).view(TIME_TYPE),
        pa.array(judged_series.value, from_pandas=True),
        pa.array(judged_series.quality),
        names.take(pa.array(bits_index)),
        *(
            pa.array(getattr(judged_series, name), from_pandas=True)
            for name in ("expected", "spread", "score")
        ),
    ]
    return pa.record_batch(columns, schema=JUDGED_SCHEMA)
