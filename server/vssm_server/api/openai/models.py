"""GET /v1/models: what is served, in OpenAI's words."""

from typing import Annotated

from fastapi import APIRouter, Depends

from vssm_server.api.openai.answers import Model, Models
from vssm_server.api.openai.documented import responses
from vssm_server.api.state import Api, api_of
from vssm_server.messages import ModelInfo

router = APIRouter(tags=["openai"])
Shared = Annotated[Api, Depends(api_of)]


@router.get("/v1/models", summary="All models, as OpenAI's clients list them", responses=responses(401, 403, 503, 507))
async def list_models(api: Shared) -> Models:
    """Those that can be used; GET /models also tells what is wrong with the others."""
    await api.fleet.check_now()
    infos = sorted(api.fleet.models.values(), key=lambda info: info.name)
    return Models(object="list", data=[_model(info) for info in infos])


@router.get(
    "/v1/models/{name:path}",
    summary="One model, as OpenAI's clients ask for it",
    responses=responses(401, 403, 404, 503, 507),
)
async def get_model(name: str, api: Shared) -> Model:
    """Its name and modality; GET /models/{name} tells more."""
    await api.fleet.check_now()
    return _model(api.fleet.model(name))


def _model(info: ModelInfo) -> Model:
    owner, slash, _ = info.name.partition("/")
    return Model(id=info.name, object="model", created=0, owned_by=owner if slash else "vssm", modality=info.modality)
