"""Several requests that are accepted together, or not at all."""

from collections.abc import Callable, Sequence

from fastapi import Request

from vssm_server.api import run
from vssm_server.api.once import Ticket
from vssm_server.api.plan import Plan
from vssm_server.api.schema import GenerateRequest
from vssm_server.api.state import Api


async def start_all(
    request: Request,
    api: Api,
    ticket: Ticket | None,
    wanted: Sequence[GenerateRequest],
    check: Callable[[Plan], Plan],
    began: float,
) -> list[run.Run]:
    """A run for each; when one is refused, what was accepted before it is cancelled. Raises Problem and ClientLeft."""
    runs: list[run.Run] = []
    try:
        for index, asked in enumerate(wanted):
            named = _numbered(ticket, index)

            async def plan(asked: GenerateRequest = asked, named: Ticket | None = named) -> Plan:
                return check(await run.plan_of(asked, request, api, named))

            runs.append(await run.start(request, api, named, plan, began))
    except BaseException:
        for started in runs:
            await started.finish()
        raise
    return runs


def _numbered(ticket: Ticket | None, index: int) -> Ticket | None:
    """Each has an Idempotency-Key of its own, made from that of all."""
    return ticket if ticket is None or index == 0 else Ticket(f"{ticket.name}:{index}", ticket.digest)
