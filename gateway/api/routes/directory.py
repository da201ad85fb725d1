"""Routes that list enrolled areas, sites, devices and series, and all quantities."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter

from edge.wire.quantities import QUANTITIES
from gateway.api import query_params
from gateway.api.models import conversion, resource_models
from gateway.api.problems import not_found, problem_responses
from gateway.api.request_context import CurrentContext
from gateway.auth.authorization import DIRECTORY, requires

router = APIRouter(prefix="/v1", tags=["directory"])


@router.get("/areas", responses=problem_responses())
@requires(DIRECTORY)
def areas(context: CurrentContext) -> list[resource_models.AreaResponse]:
    """Every area: cities, counties, towns, each with its parent."""
    return [
        resource_models.AreaResponse(**msgspec.structs.asdict(one))
        for one in context.directory_index.directory.areas
    ]


@router.get("/sites", responses=problem_responses(404))
@requires(DIRECTORY)
def sites(
    context: CurrentContext, area: query_params.AreaParam = None, kind: query_params.SiteKindParam = None
) -> list[resource_models.SiteResponse]:
    """Sites, by area (with all below it) and kind."""
    return [
        resource_models.SiteResponse(**msgspec.structs.asdict(one))
        for one in context.directory_index.sites_of(area=area, kind=kind)
    ]


@router.get("/sites/{site_id}", responses=problem_responses(404))
@requires(DIRECTORY)
def site(context: CurrentContext, site_id: str) -> resource_models.SiteResponse:
    """One site."""
    (one,) = context.directory_index.sites_of(site=site_id)
    return resource_models.SiteResponse(**msgspec.structs.asdict(one))


@router.get("/devices", responses=problem_responses(404))
@requires(DIRECTORY)
def devices(
    context: CurrentContext, area: query_params.AreaParam = None
) -> list[resource_models.DeviceResponse]:
    """Devices, by area (with all below it): times of the newest reading, last status, and clock offset."""
    directory_index = context.directory_index
    areas = None if area is None else directory_index.areas_below(area)
    statuses = {one.device_id: one for one in context.store.statuses()}
    activity = {one.device_id: one for one in context.store.activity()}
    return [
        conversion.device_response(one, activity.get(one.device_id), statuses.get(one.device_id))
        for one in directory_index.directory.devices
        if areas is None or one.area_id in areas
    ]


@router.get("/series", responses=problem_responses(404))
@requires(DIRECTORY)
def series(
    context: CurrentContext,
    area: query_params.AreaParam = None,
    site: query_params.SiteParam = None,
    quantity: query_params.QuantityParam = None,
) -> list[resource_models.SeriesResponse]:
    """Series, by area, site and quantity."""
    return [
        conversion.series_response(one)
        for one in context.directory_index.series_of(area=area, site=site, quantity=quantity)
    ]


@router.get("/series/{series_id}", responses=problem_responses(404))
@requires(DIRECTORY)
def one_series(
    context: CurrentContext, series_id: query_params.SeriesIdParam
) -> resource_models.SeriesResponse:
    """One series."""
    matched = context.directory_index.series.get(series_id)
    if matched is None:
        raise not_found("series", series_id)
    return conversion.series_response(matched)


@router.get("/quantities", responses=problem_responses())
@requires(DIRECTORY)
def quantities(_context: CurrentContext) -> list[resource_models.QuantityResponse]:
    """Quantities that can be measured: units, plausible ranges, HJ 212 codes, labels."""
    names = resource_models.QuantityResponse.model_fields
    return [
        resource_models.QuantityResponse(**{name: getattr(one, name) for name in names})
        for one in QUANTITIES.values()
    ]
