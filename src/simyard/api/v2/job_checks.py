"""Jobs as they were sent, and everything that is wrong with them: the same for saving, changing,
estimating and submitting them.
"""

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from simyard.api import bodies
from simyard.api.routes import caller, site_of
from simyard.api.v2 import job_bodies
from simyard.domain.catalogue import Catalogue, Notice
from simyard.domain.errors import Invalid, Path, Problem
from simyard.domain.jobs import JobDefinition
from simyard.domain.records import dataclass
from simyard.service import jobs as service
from simyard.service import studies
from simyard.service.site import Site
from simyard.service.studies import Planned


@dataclass
class Sent:
    """A job that was sent, as whole as its shape allows."""

    definition: JobDefinition  # with what follows from its study
    told: tuple[Notice, ...]  # what to know of its study
    problems: list[Problem]  # found so far
    lengths: dict[Path, int]  # of the lists that were sent

    def add(self, problems: list[Problem]) -> None:
        """Those at places where nothing is known to be wrong yet."""
        self.problems += bodies.uncovered(problems, self.problems)

    def refuse_if_wrong(self, request: Request, catalogue: Catalogue) -> None:
        """Raises Invalid where its shape or its study is, with what else is wrong beside it."""
        if self.problems:
            self.add(check(request, catalogue, self.definition))
            raise Invalid(self.problems, self.lengths)


async def read(request: Request, content: Any, *, to_submit: bool = False) -> Sent:
    """A job as it was sent, with what is wrong with its shape and its study. to_submit: also with
    its templates. Raises Invalid where too much is wrong to read it.
    """
    site, user = site_of(request), caller(request)
    definition, problems, lengths = job_bodies.read(content)
    if definition.study is None and not (to_submit and _has_templates(definition)):
        definition, wrong, told = studies.complete(site, user.id, definition)
    else:
        async with request.app.state.planning:
            definition, wrong, told = await run_in_threadpool(
                studies.complete, site, user.id, definition, to_submit=to_submit
            )
    sent = Sent(definition, told, problems, lengths)
    sent.add(wrong)
    return sent


def check(request: Request, catalogue: Catalogue, definition: JobDefinition) -> list[Problem]:
    """What is wrong with a definition beside its shape and its study."""
    site = site_of(request)
    return site.db.read(service.check_job, site, catalogue, caller(request), definition)


async def looked_again(site: Site, catalogue: Catalogue, definition: JobDefinition) -> Catalogue:
    """The catalogue, once it is known again what is installed of the job's analyses that was not
    when somebody last looked.
    """
    if not catalogue.all_installed:
        for code in service.not_installed(catalogue, definition):
            catalogue = await run_in_threadpool(site.book.look_again, code)
    return catalogue


async def plan(request: Request, definition: JobDefinition) -> Planned | None:
    """The runs of a definition that is to be submitted; None for one plain run, of which the
    submit itself finds out all. Raises Invalid.
    """
    if definition.study is None and not _has_templates(definition):
        return None
    async with request.app.state.planning:
        return await run_in_threadpool(
            studies.plan_submit, site_of(request), caller(request).id, definition
        )


def _has_templates(definition: JobDefinition) -> bool:
    return any(analysis.templates for analysis in definition.analyses)
