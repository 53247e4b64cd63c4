"""What is public: whole, typed and documented."""

import inspect
from collections.abc import Iterator

import pytest
import vssm_client
from pydantic import BaseModel
from vssm_client import models
from vssm_client.options import Options
from vssm_server.api import schema

PAIRS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (models.Generation, schema.GenerateResponse),
    (models.Output, schema.Output),
    (models.Quantile, schema.Quantile),
    (models.Usage, schema.Usage),
    (models.Timings, schema.Timings),
    (models.SessionInfo, schema.SessionResponse),
    (models.Model, schema.ModelResponse),
    (models.Observation, schema.ObservationResponse),
    (models.ImageShape, schema.ImageResponse),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_every_field_of_the_server_is_here(ours: type[BaseModel], theirs: type[BaseModel]) -> None:
    assert set(ours.model_fields) == set(theirs.model_fields)


def test_every_option_of_the_server_is_here() -> None:
    assert set(Options.__annotations__) - {"idempotency_key"} == set(schema.GenerateRequest.model_fields) - {"stream"}


def public() -> Iterator[tuple[str, object]]:
    """Classes, functions, and the public methods and properties of the classes."""
    for name in vssm_client.__all__:
        thing = getattr(vssm_client, name)
        if not inspect.isclass(thing) and not inspect.isfunction(thing):
            continue  # Event is a union
        yield name, thing
        bases = inspect.getmro(thing) if inspect.isclass(thing) else ()
        ours = [base for base in bases if base.__module__.startswith("vssm_client")]
        for member, value in (pair for base in ours for pair in vars(base).items()):
            function = value.fget if isinstance(value, property) else value
            if inspect.isfunction(function) and (not member.startswith("_") or member == "__init__"):
                yield f"{name}.{member}", function


def test_everything_public_is_documented_and_typed_without_any() -> None:
    names = []
    for name, thing in public():
        names.append(name)
        assert name.endswith("__init__") or (thing.__doc__ or "").strip(), name
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            kinds = [p.annotation for p in signature.parameters.values() if p.name != "self"]
            kinds.append(signature.return_annotation)
            assert inspect.Parameter.empty not in kinds, name
            assert not any("Any" in str(kind).replace("Anything", "") for kind in kinds), name
    assert {"Client.generate", "AsyncSession.stream", "Session.id", "join"} <= set(names)


@pytest.mark.parametrize("kind", [*(ours for ours, _ in PAIRS), Options])
def test_fields_and_options_are_documented_and_typed_without_any(kind: type) -> None:
    """What the signatures are made of."""
    assert (kind.__doc__ or "").strip()
    kinds = {
        name: str(annotation) for base in kind.__mro__ for name, annotation in inspect.get_annotations(base).items()
    }
    fields = {name: said for name, said in kinds.items() if not name.startswith(("_", "model_"))}
    assert fields
    assert not [name for name, said in fields.items() if "Any" in said]
