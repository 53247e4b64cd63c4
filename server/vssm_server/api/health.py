"""Whether the service works, its metrics, and pages for people. All of it works without a network."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any

import fastapi_offline
import redis
from fastapi import APIRouter, Depends, FastAPI, Response, Security
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST

from vssm_server.api.documented import BEARER, errors
from vssm_server.api.metrics import scrape
from vssm_server.api.problems import answer
from vssm_server.api.state import Api, api_of
from vssm_server.errors import REDIS_AWAY, Problem

router = APIRouter()
ASSETS = Path(fastapi_offline.__file__).parent / "static"
PAGE = bytes(
    get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="vssm-server",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="/favicon.ico",
    ).body
)
_SCRIPTS = [
    f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"
    for script in re.findall(rb"<script>(.*?)</script>", PAGE, re.DOTALL)
]
POLICY = (
    f"default-src 'none'; script-src 'self' {' '.join(_SCRIPTS)}; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; form-action 'none'; frame-ancestors 'none'"
)
Shared = Annotated[Api, Depends(api_of)]


@router.get("/livez", tags=["health"], summary="Is this process alive?")
async def livez() -> dict[str, str]:
    """Always, if anything is answered."""
    return {"status": "alive"}


@router.get("/readyz", tags=["health"], summary="Can requests be served?", responses=errors(503, 507))
async def readyz(api: Shared) -> Any:
    """Redis answers and a worker's heart beats. That they do not is an answer here, and no failure to be counted."""
    try:
        api.check_open()
        await api.fleet.refresh()
        api.fleet.check()
    except Problem as problem:
        return answer(problem)
    except redis.RedisError:
        return answer(Problem("redis_unavailable", REDIS_AWAY))
    return {"status": "ready", "workers": len(api.fleet.workers), "models": sorted(api.fleet.models)}


@router.get(
    "/metrics",
    tags=["health"],
    summary="Prometheus metrics",
    response_class=Response,
    responses=errors(401, 403),
    dependencies=[Security(BEARER)],
)
async def metrics(api: Shared) -> Response:
    """Of the whole service, whichever API process answers: scrape one address, not every process."""
    return Response(await scrape(api.hub, api.fleet), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """The API, to be tried out."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/favicon.ico", include_in_schema=False)
async def favicon() -> FileResponse:
    """A small picture."""
    return FileResponse(ASSETS / "favicon.png")


def mount_assets(app: FastAPI) -> None:
    """The files of Swagger UI."""
    app.mount("/docs/assets", StaticFiles(directory=ASSETS), name="assets")
