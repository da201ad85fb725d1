"""Serves the API's documentation page (Swagger UI) and its files from the installation, without internet."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Literal

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from gateway.auth.authorization import PUBLIC, requires

router = APIRouter(include_in_schema=False)

DocumentationFile = Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]
DOCUMENTATION_FILES = files("fastapi_offline") / "static"
CACHE_ONE_DAY = {"Cache-Control": "public, max-age=86400"}


# URLs are relative, so that the page works under a proxy's path prefix, too.
# FastAPI's page names no language.
DOCUMENTATION_PAGE: str = (
    bytes(
        get_swagger_ui_html(
            openapi_url="openapi.json",
            title="towntwin",
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="docs/favicon.png",
        ).body
    )
    .decode()
    .replace("<html>", '<html lang="en">')
)


def _script_hashes(page: str) -> str:
    """Return the hashes of a page's inline scripts for its Content-Security-Policy."""
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    return " ".join(f"'sha256-{one}'" for one in digests)


DOCUMENTATION_POLICY = (
    f"default-src 'none'; script-src 'self' {_script_hashes(DOCUMENTATION_PAGE)}; style-src 'self' "
    "'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@router.get("/docs")
@requires(PUBLIC)
def documentation_page() -> HTMLResponse:
    """Serve the documentation page."""
    return HTMLResponse(DOCUMENTATION_PAGE, headers={"Content-Security-Policy": DOCUMENTATION_POLICY})


@router.get("/docs/{name}")
@requires(PUBLIC)
def documentation_file(name: DocumentationFile) -> FileResponse:
    """Serve a script, style or icon of the page."""
    return FileResponse(str(DOCUMENTATION_FILES / name), headers=CACHE_ONE_DAY)
