"""Routes of what is enrolled: areas, sites, devices, series, quantities."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter

from edge.wire.quantities import QUANTITIES
from gateway import convert, models, params
from gateway.context import Here
from gateway.problems import not_found, responses

router = APIRouter(prefix="/v1", tags=["directory"])


@router.get("/areas", responses=responses())
def areas(here: Here) -> list[models.Area]:
    """Every area: cities, counties, towns, each with its parent."""
    return [models.Area(**msgspec.structs.asdict(one)) for one in here.known.directory.areas]


@router.get("/sites", responses=responses(404))
def sites(here: Here, area: params.Area = None, kind: params.Kind = None) -> list[models.Site]:
    """Sites, by area (with all below it) and kind."""
    return [models.Site(**msgspec.structs.asdict(one)) for one in here.known.sites_of(area=area, kind=kind)]


@router.get("/sites/{site_id}", responses=responses(404))
def site(here: Here, site_id: str) -> models.Site:
    """One site."""
    (one,) = here.known.sites_of(site=site_id)
    return models.Site(**msgspec.structs.asdict(one))


@router.get("/devices", responses=responses(404))
def devices(here: Here, area: params.Area = None) -> list[models.Device]:
    """Devices, by area (with all below it): last heard when, said what, and how wrong its clock is."""
    known = here.known
    areas = None if area is None else known.areas_below(area)
    said = {one.device_id: one for one in here.store.statuses()}
    active = {one.device_id: one for one in here.store.activity()}
    return [
        convert.device(one, active.get(one.device_id), said.get(one.device_id))
        for one in known.directory.devices
        if areas is None or one.area_id in areas
    ]


@router.get("/series", responses=responses(404))
def series(
    here: Here, area: params.Area = None, site: params.Site = None, quantity: params.Quantity = None
) -> list[models.Series]:
    """Series, by area, site and quantity."""
    return [convert.series(one) for one in here.known.series_of(area=area, site=site, quantity=quantity)]


@router.get("/series/{series_id}", responses=responses(404))
def one_series(here: Here, series_id: params.SeriesId) -> models.Series:
    """One series."""
    found = here.known.series.get(series_id)
    if found is None:
        raise not_found("series", series_id)
    return convert.series(found)


@router.get("/quantities", responses=responses())
def quantities(_here: Here) -> list[models.Quantity]:
    """What can be measured: units, plausible ranges, HJ 212 codes, labels."""
    names = models.Quantity.model_fields
    return [models.Quantity(**{name: getattr(one, name) for name in names}) for one in QUANTITIES.values()]
