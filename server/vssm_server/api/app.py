"""Puts the HTTP application together."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI, Security
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from vssm_server import __version__
from vssm_server.api import generate, health, playground, problems, resources
from vssm_server.api.body import BodyLimit
from vssm_server.api.documented import BEARER, DESCRIPTION
from vssm_server.api.guard import Guard
from vssm_server.api.openai import completions, images, models
from vssm_server.api.openai import errors as openai
from vssm_server.api.state import Api
from vssm_server.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The application; connects to `settings.redis_url` when it starts."""
    api = Api(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with api.running():
            yield

    app = FastAPI(
        title="vssm-server",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.api = api
    app.router.routes[:0] = [
        Route("/generate", generate.generate, methods=["POST"]),
        Route(openai.COMPLETIONS, completions.complete, methods=["POST"]),
        Route(openai.IMAGES, images.generate_images, methods=["POST"]),
    ]
    # the routers describe these too; run by FastAPI's own machinery, a request costs twice as much
    for router in (generate.router, completions.router, images.router, models.router, resources.router):
        app.include_router(router, dependencies=[Security(BEARER)])
    app.include_router(health.router)
    health.mount_assets(app)
    playground.mount(app)
    problems.install(app, api.tally)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, tally=api.tally)
    if api.ring is not None or not settings.allow_anonymous:
        app.add_middleware(Guard, ring=api.ring, tally=api.tally)
    if origins := [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"], expose_headers=["*"]
        )
    return app
