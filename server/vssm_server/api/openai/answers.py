"""What the /v1 routes answer, as OpenAPI describes it."""

from typing import Literal

from pydantic import BaseModel, Field

from vssm_server.api.schema import PassesResponse

PASSES = "Beyond OpenAI's, and only of models in exact mode."


class Choice(BaseModel):
    """One completion, or a part of it in a stream."""

    text: str
    index: int = Field(description="Number of the prompt x n + number of the sample.")
    logprobs: None
    finish_reason: Literal["stop", "length"] | None = Field(description="null in a stream, until its last part.")


class CompletionUsage(BaseModel):
    """Bytes."""

    prompt_tokens: int
    completion_tokens: int = Field(description="Up to the end of a stop string where there is one.")
    total_tokens: int


class Completion(BaseModel):
    """The answer, and each chunk of a stream."""

    id: str
    object: Literal["text_completion"]
    created: int = Field(description="Unix seconds.")
    model: str
    system_fingerprint: str = Field(description="Hash of the checkpoint: same seed and fingerprint, same text.")
    seed: int = Field(description="Beyond OpenAI's: gives the same completions again.")
    choices: list[Choice]
    usage: CompletionUsage | None
    passes: PassesResponse | None = Field(None, description=f"{PASSES} In a stream it comes with the usage.")


class Image(BaseModel):
    """One image."""

    b64_json: str = Field(description="PNG in base64.")


class TokenDetails(BaseModel):
    """By kind."""

    image_tokens: int
    text_tokens: int


class ImageUsage(BaseModel):
    """Steps of the sequences that the images are."""

    input_tokens: Literal[0]
    input_tokens_details: TokenDetails
    output_tokens: int
    total_tokens: int


class Images(BaseModel):
    """The answer of POST /v1/images/generations."""

    created: int = Field(description="Unix seconds.")
    background: Literal["opaque"]
    output_format: Literal["png"]
    size: str
    seed: int = Field(description="Beyond OpenAI's: gives the same images again.")
    data: list[Image]
    usage: ImageUsage
    passes: PassesResponse | None = Field(None, description=PASSES)


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: Literal[0] = Field(description="A checkpoint has no date.")
    owned_by: str = Field(description="The owner on the Hugging Face hub, or vssm.")
    modality: str = Field(description="Beyond OpenAI's: `text` completes, `image` makes images.")


class Models(BaseModel):
    """All models that are served."""

    object: Literal["list"]
    data: list[Model]


class ErrorBody(BaseModel):
    """What was wrong, what is allowed, what to do."""

    message: str
    type: Literal["invalid_request_error", "rate_limit_error", "server_error"]
    param: str | None
    code: str = Field(description="This server's stable error type.")
    request_id: str | None = Field(description="Beyond OpenAI's: as in the header X-Request-ID.")


class Error(BaseModel):
    """Every error under /v1 looks like this."""

    error: ErrorBody
