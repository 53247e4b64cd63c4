"""The choices of a completion: each sample of each prompt, its text so far, and OpenAI's JSON around it."""

import time
from collections.abc import Sequence

import numpy as np

from vssm_server.api.openai.text import Text
from vssm_server.api.plan import Plan
from vssm_server.api.render import Values

Json = dict[str, object]


class Choices:
    """Takes values (n, steps, 1) of the run of each prompt and gives choices; a stream gives their parts."""

    def __init__(self, plans: Sequence[Plan], stops: tuple[bytes, ...], echo: bool) -> None:
        self._texts = [[Text(stops, _prompt(plan) if echo else b"") for _ in _samples(plan)] for plan in plans]
        self._first = [sum(map(len, self._texts[:run])) for run in range(len(plans))]
        self._prompt_tokens = sum(plan.prefix_steps for plan in plans)
        request = plans[0].request
        self._head = {
            "id": "cmpl-" + request.id.removeprefix("gen_"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": request.model,
            "system_fingerprint": plans[0].info.fingerprint,
            "seed": request.seed,
        }

    def whole(self, results: Sequence[Values]) -> Json:
        """The answer, from the values of every run."""
        choices = []
        for run, values in enumerate(results):
            pieces = [text.add(row) for text, row in zip(self._texts[run], _rows(values), strict=True)]
            choices += [
                self._choice(run, sample, piece + text.end(), text.finish_reason)
                for sample, (piece, text) in enumerate(zip(pieces, self._texts[run], strict=True))
            ]
        return self.around(choices, self.usage)

    def add(self, run: int, values: Values) -> list[Json]:
        """Parts for a stream: of each sample that has new text or stops here."""
        parts = []
        for sample, (text, row) in enumerate(zip(self._texts[run], _rows(values), strict=True)):
            if text.stopped:
                continue
            piece = text.add(row)
            if piece or text.stopped:
                parts.append(self._choice(run, sample, piece, text.finish_reason if text.stopped else None))
        return parts

    def end(self, run: int) -> list[Json]:
        """The last parts of a run, of each sample that has not stopped before."""
        texts = enumerate(self._texts[run])
        return [self._choice(run, sample, text.end(), text.finish_reason) for sample, text in texts if not text.stopped]

    def stopped(self, run: int) -> bool:
        """Whether nothing more of this run will be said."""
        return all(text.stopped for text in self._texts[run])

    @property
    def usage(self) -> Json:
        """Bytes read and made so far."""
        made = sum(text.tokens for texts in self._texts for text in texts)
        read = self._prompt_tokens
        return {"prompt_tokens": read, "completion_tokens": made, "total_tokens": read + made}

    def around(self, choices: list[Json], usage: Json | None) -> Json:
        """The object that has these choices."""
        return {**self._head, "choices": choices, "usage": usage}

    def _choice(self, run: int, sample: int, text: str, finish_reason: str | None) -> Json:
        index = self._first[run] + sample
        return {"text": text, "index": index, "logprobs": None, "finish_reason": finish_reason}


def _samples(plan: Plan) -> range:
    return range(plan.request.num_samples)


def _rows(values: Values) -> list[bytes]:
    """(n, steps, 1) to the bytes of each sample."""
    return [row.tobytes() for row in values[:, :, 0].astype(np.uint8)]


def _prompt(plan: Plan) -> bytes:
    prefix = plan.request.prefix
    return b"" if prefix is None else prefix.unpack().astype(np.uint8).tobytes()
