"""The JSON of the /v1 routes. What a VSSM cannot do is a field too, that takes its neutral value only."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from vssm_server.api.schema import MAX_SEED, PASSES_LIMIT

MAX_STOPS = 4


def only(*allowed: object, why: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Accepts None and the values in which a field changes nothing; anything else is refused with the reason."""
    neutral = (None, *allowed)

    def check(value: object) -> object:
        if any(value is one or (not isinstance(value, bool) and value == one) for one in neutral):
            return value
        shown = " or ".join("null" if one is None else repr(one) for one in neutral)
        raise PydanticCustomError("refused", "{why}. Leave it out, or send {shown}", {"why": why, "shown": shown})

    return AfterValidator(check), WithJsonSchema({"enum": list(neutral), "description": f"Refused: {why}."})


NO_LOGITS = "a VSSM draws latents of the whole sequence at once, so no probabilities of single tokens are there"
NO_BEST = "without probabilities of whole sequences none can be called the best"
NO_SUFFIX = "a VSSM continues a prompt, it does not fill a gap"
ONLY_PNG = "images are lossless and opaque PNG"
NO_STYLE = "the model draws what it was trained on, in one way"
NO_PARTS = "images come whole, in one answer"

MaxPasses = Annotated[int | None, Field(ge=1, description=f"Beyond OpenAI's. {PASSES_LIMIT}")]
Penalty = Annotated[object, *only(0, why=NO_LOGITS)]
NoLogits = Annotated[object, *only(why=NO_LOGITS)]
NoSvg = Annotated[object, *only(why=ONLY_PNG)]


class StreamOptions(BaseModel):
    """Of a completion with `stream`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = Field(None, description="End with a chunk that has `usage` and no choices.")
    include_obfuscation: Annotated[object, *only(False, why="chunks are not padded")] = None


class CompletionRequest(BaseModel):
    """POST /v1/completions: as OpenAI has it, for models of text whose tokens are the bytes of UTF-8."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str | None = Field(None, description="Name of a model of text; optional when one model is served.")
    prompt: Annotated[
        object,
        WithJsonSchema(
            {
                "description": "What is continued: a string, a list of bytes (0 to 255), or a list of either for "
                "several prompts. Empty or absent: from the beginning.",
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": {"type": "string"}},
                    {"type": "array", "items": {"type": "integer"}},
                    {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
                    {"type": "null"},
                ],
            }
        ),
    ] = None
    max_tokens: int | None = Field(None, ge=1, description="New bytes of each completion; 16 if absent, as OpenAI's.")
    n: int | None = Field(None, ge=1, description="Completions of each prompt; 1 if absent.")
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="Drawn and returned when absent. The second of several prompts has seed + 1, and so on.",
    )
    temperature: float | None = Field(None, ge=0, description="1 if absent; 0 takes the most likely value.")
    max_passes: MaxPasses = None
    stop: Annotated[
        object,
        WithJsonSchema(
            {
                "description": f"Up to {MAX_STOPS} strings; a completion ends before the one that is complete first.",
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}],
            }
        ),
    ] = None
    echo: bool | None = Field(None, description="Begin each text with its prompt.")
    stream: bool | None = Field(None, description="Server-sent events `data: {...}`, then `data: [DONE]`.")
    stream_options: Annotated[
        StreamOptions | None, WithJsonSchema({"anyOf": [StreamOptions.model_json_schema(), {"type": "null"}]})
    ] = None
    user: str | None = Field(None, description="Accepted, and not used.")
    best_of: int | None = Field(None, description=f"Refused unless equal to n: {NO_BEST}.")
    frequency_penalty: Penalty = None
    presence_penalty: Penalty = None
    logit_bias: Annotated[object, *only({}, why=NO_LOGITS)] = None
    logprobs: NoLogits = None
    suffix: Annotated[object, *only("", why=NO_SUFFIX)] = None
    top_p: Annotated[object, *only(1, why=NO_LOGITS)] = None


class ImageRequest(BaseModel):
    """POST /v1/images/generations: as OpenAI has it, for models of images. They draw without being told what."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    model: str | None = Field(None, description="Name of a model of images; optional when one model is served.")
    prompt: Annotated[object, *only("", why="the model draws what it was trained on, it follows no words")] = None
    n: int | None = Field(None, ge=1, description="Images; 1 if absent.")
    size: str | None = Field(
        None, description="`WIDTHxHEIGHT`: the model's own, or a multiple of it (nearest neighbour); null or auto: own."
    )
    response_format: Annotated[object, *only("b64_json", why="images are not kept, so no url leads to them")] = None
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Beyond OpenAI's. Drawn and returned when absent.")
    temperature: float | None = Field(None, ge=0, description="Beyond OpenAI's: 1 if absent; 0: most likely values.")
    max_passes: MaxPasses = None
    user: str | None = Field(None, description="Accepted, and not used.")
    safety_identifier: str | None = Field(None, description="Accepted, and not used.")
    background: Annotated[object, *only("auto", "opaque", why=ONLY_PNG)] = None
    output_format: Annotated[object, *only("png", why=ONLY_PNG)] = None
    output_compression: Annotated[object, *only(100, why=ONLY_PNG)] = None
    moderation: Annotated[object, *only("auto", why="nothing is filtered")] = None
    quality: Annotated[object, *only("auto", "standard", why=NO_STYLE)] = None
    style: Annotated[object, *only(why=NO_STYLE)] = None
    complexity: Annotated[object, *only(why=NO_STYLE)] = None
    stream: Annotated[object, *only(False, why=NO_PARTS)] = None
    partial_images: Annotated[object, *only(0, why=NO_PARTS)] = None
    frame_count: NoSvg = None
    frame_duration_ms: NoSvg = None
    svg: NoSvg = None
