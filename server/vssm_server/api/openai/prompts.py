"""What a completion asks for, as one request of POST /generate for each prompt."""

from vssm_server.api.openai.schema import MAX_STOPS, CompletionRequest
from vssm_server.api.plan import Plan
from vssm_server.api.render import is_text
from vssm_server.api.schema import MAX_SEED, GenerateRequest
from vssm_server.errors import invalid
from vssm_server.messages import ModelInfo
from vssm_server.settings import Settings

MAX_TOKENS = 16  # when none are asked for, as with OpenAI


def requests_of(asked: CompletionRequest, seed: int, settings: Settings) -> list[GenerateRequest]:
    """One for each prompt; the same prompt twice is continued differently. Raises Problem."""
    prompts, num_samples, length = _prompts(asked.prompt), asked.n or 1, asked.max_tokens or MAX_TOKENS
    _check_options(asked, num_samples)
    _check_sum(len(prompts), num_samples, length, settings)
    common = {
        "model": asked.model,
        "num_samples": num_samples,
        "length": length,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "max_passes": asked.max_passes,
        "stream": bool(asked.stream),
    }
    return [
        GenerateRequest.model_validate({**common, "prefix": prompt or None, "seed": (seed + index) & MAX_SEED})
        for index, prompt in enumerate(prompts)
    ]


def _prompts(prompt: object) -> list[object]:
    if prompt is None or isinstance(prompt, str):
        return [prompt]
    if not isinstance(prompt, list):
        raise invalid("prompt", f"prompt must be a string or a list, not a {type(prompt).__name__}.")
    if not prompt:
        raise invalid("prompt", 'prompt is an empty list; to begin from nothing, send "" or leave it out.')
    kinds = {type(part) for part in prompt}
    if kinds == {str} or kinds == {list}:
        return prompt
    if kinds & {str, list}:
        raise invalid("prompt", "prompt must be strings only, or bytes (0 to 255) only, or lists of bytes only.")
    return [prompt]  # one, of bytes; whether they are is checked against the model


def _check_sum(prompts: int, num_samples: int, length: int, settings: Settings) -> None:
    """That several prompts together are no more than one may ask for."""
    rows = prompts * num_samples
    if prompts > 1 and (rows > settings.max_num_samples or rows * length > settings.max_request_steps):
        message = (
            f"{prompts} prompts x n are {rows} completions of {length} bytes; allowed are {settings.max_num_samples} "
            f"completions and {settings.max_request_steps} bytes together. Send the prompts one by one."
        )
        raise invalid("prompt", message)


def _check_options(asked: CompletionRequest, num_samples: int) -> None:
    if asked.best_of not in (None, num_samples):
        message = f"best_of must be equal to n ({num_samples}) or left out: a VSSM has no probabilities to choose by."
        raise invalid("best_of", message)
    if asked.stream_options is not None and not asked.stream:
        raise invalid("stream_options", "stream_options are for streams: send stream: true, or leave them out.")


def stops_of(stop: object) -> tuple[bytes, ...]:
    """Stop strings as UTF-8. Raises Problem."""
    stops = [] if stop is None else stop if isinstance(stop, list) else [stop]
    encoded = tuple(one.encode() for one in stops if isinstance(one, str) and one)
    if len(stops) > MAX_STOPS or len(encoded) < len(stops):
        raise invalid("stop", f"stop must be a string or a list of up to {MAX_STOPS} strings, none of them empty.")
    return encoded


def check_text(plan: Plan) -> Plan:
    """The plan, if its model is one of text. Raises Problem."""
    if not is_text(plan.info):
        raise invalid("model", f"The model {plan.info.name!r} makes no text; {_instead(plan.info)}.")
    return plan


def _instead(info: ModelInfo) -> str:
    images = "its images come from POST /v1/images/generations, " if info.image is not None else ""
    return f"{images}its values from POST /generate"
