"""What clients send as a job's `optimizer`, and what becomes of it.

Its documented shape is that of a job analysis; what a server of ours needs beside it is ours
(docs/extensions.md).
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from simyard.api import bodies
from simyard.api.bodies import Body, EmptyIsNull, NoFlag
from simyard.domain.errors import Problem
from simyard.domain.studies import Optimizer

BUDGET_MOST = 10_000


class OptimizerBody(Body):
    method: Literal["gp", "optuna", "external"] = "gp"
    budget: Annotated[Annotated[int, Field(ge=1, le=BUDGET_MOST), NoFlag] | None, EmptyIsNull] = (
        None
    )
    settings: Annotated[Annotated[dict[str, Any], Field(max_length=100)] | None, EmptyIsNull] = None


def read(sent: dict[str, Any] | None) -> tuple[Optimizer | None, list[Problem]]:
    """The optimizer that was sent, and what is wrong with it."""
    if sent is None:
        return None, []
    body, problems = bodies.read(OptimizerBody, sent)
    problems = [Problem(("optimizer", *problem.path), problem.message) for problem in problems]
    if "analysis" in sent or "command" in sent:
        problems.append(
            Problem(
                ("optimizer", "analysis"),
                "Programs as optimizers are not run by this server. Let the program run anywhere"
                ' with {"method": "external"} and add its runs with POST jobs/ID/runs/.',
            )
        )
    if body.method != "external" and body.budget is None and not problems:
        problems.append(Problem(("optimizer", "budget"), "This field is required."))
    optimizer = Optimizer(
        method=body.method, budget=body.budget or 0, settings=body.settings or {}, sent=sent
    )
    return optimizer, problems
