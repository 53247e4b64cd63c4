"""Which quantiles over the samples a request may ask for; `render` makes them."""

from itertools import pairwise

from vssm_server.api.schema import GenerateRequest
from vssm_server.errors import invalid
from vssm_server.messages import ModelInfo

LEAST_SAMPLES = 2
MOST = 99


def check_quantiles(asked: GenerateRequest, info: ModelInfo, num_samples: int) -> tuple[float, ...]:
    """The quantiles asked for, if any. Raises Problem."""
    if asked.quantiles is None:
        return ()
    quantiles = tuple(asked.quantiles)
    if info.modality != "series" or info.observation.dtype != "float32":
        message = f"quantiles are of numbers, but the values of {info.name!r} are {_what(info)}. Leave quantiles out."
        raise invalid("quantiles", message)
    if not 1 <= len(quantiles) <= MOST:
        raise invalid("quantiles", f"quantiles must be 1 to {MOST} numbers, not {len(quantiles)}.")
    if not all(0 < quantile < 1 for quantile in quantiles):
        wrong = next(quantile for quantile in quantiles if not 0 < quantile < 1)
        raise invalid("quantiles", f"Each of quantiles must lie between 0 and 1, both excluded; {wrong:g} does not.")
    if any(later <= earlier for earlier, later in pairwise(quantiles)):
        raise invalid("quantiles", "quantiles must increase from each to the next, as in [0.1, 0.5, 0.9].")
    if asked.output == "mean":
        raise invalid("quantiles", "quantiles are of samples, not of means; leave output out.")
    if num_samples < LEAST_SAMPLES:
        message = f"quantiles need num_samples of at least {LEAST_SAMPLES}, and 100 or more to be smooth; it is "
        raise invalid("quantiles", f"{message}{num_samples}.")
    return quantiles


def _what(info: ModelInfo) -> str:
    return {"text": "text", "image": "pixels"}.get(info.modality, f"{info.observation.kind} ones")
