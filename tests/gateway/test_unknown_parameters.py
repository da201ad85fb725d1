"""Tests that requests with unknown parameters are refused."""

from __future__ import annotations

import pytest

from tests.support.api_requests import ClientFactory, get_response


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/v1/anomalies?sverity_min=3", "there is no parameter 'sverity_min'; there are area, "),
        ("/v1/sites?area_id=330483", "there is no parameter 'area_id'; there are area, kind"),
        ("/v1/quantities?area=330483", "there are none"),
        ("/v1/anomalies?area=330483&area=330402", "area: give it once"),
        ("/v1/anomalies?quantity=oxygen", "there is no 'oxygen'; there are water_temperature, "),
        ("/v1/latest?quantity=oxygen", "there is no 'oxygen'"),
        ("/v1/live?quantity=oxygen", "there is no 'oxygen'"),
        ("/v1/anomalies?series=999999", "there is no series 999999"),
        ("/v1/series/1/buckets?width=P1M", "of different lengths"),
        ("/v1/anomalies?severity_min=3&severity_max=1", "must not be above"),
        ("/v1/anomalies?from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "must be before"),
    ],
)
def test_a_filter_that_is_misspelt_is_a_problem_and_not_an_answer(
    path: str, sentence: str, client: ClientFactory
) -> None:
    answer = get_response(client, path)
    assert answer.status_code == (404 if "series=" in path else 422)
    assert sentence in answer.json()["detail"]
