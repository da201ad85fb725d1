"""The documentation page with all that it loads: a town's server may have no way to the internet."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

router = APIRouter(include_in_schema=False)

Part = Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]
PARTS = files("fastapi_offline") / "static"
A_DAY = {"Cache-Control": "public, max-age=86400"}


@router.get("/docs")
def page() -> HTMLResponse:
    """The page; its addresses are relative, so that it works under a proxy's prefix, too."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="towntwin",
        swagger_js_url="docs/swagger-ui-bundle.js",
        swagger_css_url="docs/swagger-ui.css",
        swagger_favicon_url="docs/favicon.png",
    )


@router.get("/docs/{name}")
def part(name: Part) -> FileResponse:
    """What the page loads."""
    return FileResponse(str(PARTS / name), headers=A_DAY)
