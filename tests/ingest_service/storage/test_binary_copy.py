"""Encoding and decoding of PostgreSQL's binary COPY format."""

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from ingest_service.storage.contract.models import READING
from ingest_service.storage.postgres import binary_copy

SECONDS_TO_2000 = 946_684_800


def _rows(count: int) -> NDArray[np.void]:
    random = np.random.default_rng(count)
    rows = np.zeros(count, READING)
    rows["time_us"] = random.integers(-(2**60), 2**60, count)
    rows["received_us"] = random.integers(0, 2**60, count)
    for name in ("value", "expected", "spread"):
        rows[name] = random.normal(0, 1e6, count)
    rows["series_id"] = random.integers(1, 2**31 - 1, count)
    for name in ("quality", "rules"):
        rows[name] = random.integers(0, 2**15 - 1, count)
    return rows


def test_a_row_is_encoded_as_postgresql_documents_it() -> None:
    row = np.zeros(1, READING)
    row["time_us"], row["received_us"] = SECONDS_TO_2000 * 10**6 + 1, SECONDS_TO_2000 * 10**6 - 1
    row["value"], row["series_id"], row["expected"], row["spread"] = 7.25, 3, 7.5, np.nan
    row["quality"], row["rules"] = 2, 64

    fields = [struct.pack(">q", 1), struct.pack(">q", -1), struct.pack(">d", 7.25), struct.pack(">i", 3)]
    fields += [struct.pack(">f", one) for one in (7.5, np.nan)] + [struct.pack(">h", one) for one in (2, 64)]
    expected = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0) + struct.pack(">h", len(fields))
    expected += b"".join(struct.pack(">i", len(one)) + one for one in fields) + struct.pack(">h", -1)
    assert bytes(binary_copy.encode_copy(row)) == expected


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_decoding_reverses_encoding(count: int) -> None:
    rows = _rows(count)
    encoded = binary_copy.encode_copy(rows)
    blocks = list(binary_copy.decode_copy([encoded[i : i + 777] for i in range(0, len(encoded), 777)]))
    assert np.array_equal(np.concatenate([np.empty(0, READING), *blocks]), rows)
