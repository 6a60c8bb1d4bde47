"""The caller himself, and the organisation around him (api-v2 reference, section 3; the rest is
ours, docs/extensions.md).
"""

from typing import Annotated, Any

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from simyard.api import bodies, paging
from simyard.api.bodies import Body, EmptyIsNull, LooseText, NoFlag, needed
from simyard.api.idempotency import headers, once
from simyard.api.replies import empty, instant_text, reply
from simyard.api.routes import PAGE, Routes, caller, query, site_of
from simyard.api.shapes import (
    always,
    array,
    choice,
    fields,
    flag,
    instant,
    integer,
    nullable,
    number,
    object_,
    page_of,
    text,
)
from simyard.api.v2.jobs import check_organization
from simyard.domain.errors import Invalid, Problem
from simyard.domain.users import ApiKey, Invitation, Project, Right, Role, User
from simyard.service import billing, quotas
from simyard.service import members as service
from simyard.service.quotas import CoreTime
from simyard.service.site import Site

route = Routes("users")

_ROLE = choice(*(role.value for role in Role))
_LIMIT = nullable(integer(10))
_CORE_HOURS = fields(
    used=number(12.5, "By runs that ended in this calendar month (UTC)."),
    reserved=number(48.0, "What jobs that are queued or run may take."),
    limit=nullable(number(1000.0)),
)
STANDING = {
    "storageBytes": fields(used=integer(123_456), limit=nullable(integer(10**10))),
    "jobsRunning": fields(used=integer(1), limit=_LIMIT),
    "jobsQueued": fields(used=integer(0), limit=_LIMIT),
    "coreHours": _CORE_HOURS,
}
USER = object_(
    "User",
    email=text("ada@lab.example"),
    fullName=text("Ada Lovelace"),
    company=fields(code=text("lab")),
    workspace=fields(id=text("01-0001"), name=text("Lab")),
    maxJobHours=integer(168),
    defaultStorage=always(None, "Files go through the API, not to a store directly."),
    role=_ROLE,
    limits=fields(**STANDING),
)
PROJECT = object_(
    "Project",
    id=text("pRjctA"),
    name=text("Wing programme"),
    externalId=text("4711"),
    isOpen=flag(True),
    dateInserted=instant(),
    coreHours=_CORE_HOURS,
)
MEMBER = object_(
    "Member",
    id=text("Kmzwq"),
    email=text("bob@lab.example"),
    fullName=text("Bob"),
    role=_ROLE,
    isActive=flag(True),
)
_KEY = {
    "id": text("0f6f0c1e8a1b", "Names the key; opens nothing."),
    "label": text("laptop"),
    "dateInserted": instant(),
    "dateExpires": nullable(instant()),
    "dateRevoked": nullable(instant(), example_null=True),
}
KEY = object_("ApiKey", **_KEY)
_SECRET = text("9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b", "Shown only now.")
NEW_KEY = object_("NewApiKey", **_KEY, key=_SECRET)
_INVITATION = {
    "id": text("QwErTyUi"),
    "email": text("eve@lab.example"),
    "role": _ROLE,
    "invitedBy": text("ada@lab.example"),
    "dateInserted": instant(),
    "dateExpires": instant(),
}
INVITATION = object_("Invitation", **_INVITATION)


# --- the caller -----------------------------------------------------------------------------------


@route("GET", "/api/v2/users/me/", "Who the key belongs to", reply=USER, v3=True)
async def me(request: Request) -> Response:
    site, user = site_of(request), caller(request)
    return reply(
        {
            "email": user.email,
            "fullName": user.full_name,
            "company": {"code": site.company_code},
            "workspace": {"id": site.workspace_id, "name": site.name},
            "maxJobHours": max(1, site.limits.max_walltime_seconds // 3600),
            "defaultStorage": None,
            "role": user.role.value,
            "limits": encode_standing(site, user),
        }
    )


def encode_standing(site: Site, user: User) -> dict[str, Any]:
    has, may = site.db.read(quotas.standing, site, user), site.quotas
    return {
        "storageBytes": {"used": has.stored_bytes, "limit": may.storage_bytes or None},
        "jobsRunning": {"used": has.jobs_running, "limit": may.jobs_running or None},
        "jobsQueued": {"used": has.jobs_queued, "limit": may.jobs_queued or None},
        "coreHours": _encode_core_time(has.core_time),
    }


def _encode_core_time(time: CoreTime) -> dict[str, Any]:
    hour = quotas.HOUR_MICROSECONDS
    limit = None if time.limit is None else time.limit / hour
    return {"used": time.used / hour, "reserved": time.reserved / hour, "limit": limit}


@route("GET", "/api/v2/", "The root: answers 200 to a good key", v3=True)
async def root(_request: Request) -> Response:
    return empty(200)


def _encode_project(site: Site, project: Project) -> dict[str, Any]:
    time = site.db.read(quotas.of_project, project, site.clock())
    return {
        "id": project.code,
        "name": project.name,
        "externalId": project.external_id,
        "isOpen": project.is_open,
        "dateInserted": instant_text(project.created_at),
        "coreHours": _encode_core_time(time),
    }


def _encode_projects(request: Request, every: list[Project]) -> Any:
    page, found = paging.cut(paging.asked(request), every)
    site = site_of(request)
    return paging.envelope(request, page, found, lambda one: _encode_project(site, one))


@route(
    "GET",
    "/api/v2/users/me/projects/",
    "The projects that jobs can be booked on",
    *PAGE,
    reply=page_of(PROJECT),
    v3=True,
)
async def my_projects(request: Request) -> Response:
    every = site_of(request).db.read(service.projects)
    return reply(_encode_projects(request, [p for p in every if p.is_open]))


# --- projects -------------------------------------------------------------------------------------


# The budget of a project; null for none.
_Budget = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None


class ProjectBody(Body):
    name: LooseText = needed("")
    external_id: LooseText = ""
    core_hours_per_month: _Budget = None


class ProjectPatch(Body):
    name: LooseText | None = None
    external_id: LooseText | None = None
    is_open: bool | None = None
    core_hours_per_month: _Budget = None


@route(
    "GET",
    "/api/v2/projects/",
    "All projects, closed ones too",
    *PAGE,
    reply=page_of(PROJECT),
    tag="extensions",
)
async def list_projects(request: Request) -> Response:
    return reply(_encode_projects(request, site_of(request).db.read(service.projects)))


@route(
    "POST",
    "/api/v2/projects/",
    "Make a project",
    body=ProjectBody,
    reply=PROJECT,
    status=201,
    right=Right.ADMIN,
    creates=True,
    tag="extensions",
)
async def create_project(request: Request) -> Response:
    body = bodies.checked(ProjectBody, await bodies.json_of(request))
    wanted = once(request, body.model_dump_json().encode())
    site = site_of(request)
    project, is_new = await site.db.write_async(
        service.create_project,
        name=body.name,
        external_id=body.external_id,
        core_hours_per_month=body.core_hours_per_month,
        once=wanted,
    )
    return reply(_encode_project(site, project), 201, headers(is_new))


@route(
    "PATCH",
    "/api/v2/projects/{project_id}/",
    "Rename, close or open a project, or give it a budget",
    body=ProjectPatch,
    reply=PROJECT,
    right=Right.ADMIN,
    tag="extensions",
)
async def change_project(request: Request, project_id: str) -> Response:
    body = bodies.checked(ProjectPatch, await bodies.json_of(request))
    site = site_of(request)
    project = await site.db.write_async(
        service.change_project,
        project_id,
        name=body.name,
        external_id=body.external_id,
        is_open=body.is_open,
        changes_budget="core_hours_per_month" in body.model_fields_set,
        core_hours_per_month=body.core_hours_per_month,
    )
    return reply(_encode_project(site, project))


# --- members --------------------------------------------------------------------------------------


def _encode_member(user: User) -> dict[str, Any]:
    return {
        "id": user.code,
        "email": user.email,
        "fullName": user.full_name,
        "role": user.role.value,
        "isActive": user.is_active,
    }


class MemberPatch(Body):
    full_name: LooseText | None = None
    role: Role | None = None
    is_active: bool | None = None


@route(
    "GET",
    "/api/v2/members/",
    "Everybody in the organisation",
    *PAGE,
    reply=page_of(MEMBER),
    tag="extensions",
)
async def list_members(request: Request) -> Response:
    page, found = paging.cut(paging.asked(request), site_of(request).db.read(service.members))
    return reply(paging.envelope(request, page, found, _encode_member))


@route(
    "PATCH",
    "/api/v2/members/{member_id}/",
    "Change a member's name or role, or let him leave: his keys end, his jobs stay",
    body=MemberPatch,
    reply=MEMBER,
    right=Right.ADMIN,
    tag="extensions",
)
async def change_member(request: Request, member_id: str) -> Response:
    body = bodies.checked(MemberPatch, await bodies.json_of(request))
    member = await site_of(request).db.write_async(
        service.change_member,
        member_id,
        full_name=body.full_name,
        role=body.role,
        active=body.is_active,
    )
    return reply(_encode_member(member))


# --- keys -----------------------------------------------------------------------------------------


def _encode_key(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.code,
        "label": key.label,
        "dateInserted": instant_text(key.created_at),
        "dateExpires": instant_text(key.expires_at),
        "dateRevoked": instant_text(key.revoked_at),
    }


class KeyBody(Body):
    label: LooseText = ""
    expires_in_days: Annotated[
        Annotated[int, Field(ge=1, le=36500), NoFlag] | None, EmptyIsNull
    ] = None


@route(
    "GET",
    "/api/v2/keys/",
    "Your API keys, newest first",
    *PAGE,
    reply=page_of(KEY),
    right=Right.ACCOUNT,
    tag="extensions",
)
async def list_keys(request: Request) -> Response:
    every = site_of(request).db.read(service.keys, caller(request))
    page, found = paging.cut(paging.asked(request), every)
    return reply(paging.envelope(request, page, found, _encode_key))


@route(
    "POST",
    "/api/v2/keys/",
    "Make an API key; it is shown only in this reply",
    body=KeyBody,
    reply=NEW_KEY,
    status=201,
    right=Right.ACCOUNT,
    creates=True,
    tag="extensions",
)
async def create_key(request: Request) -> Response:
    body = bodies.checked(KeyBody, await bodies.json_of(request))
    site = site_of(request)
    made, is_new = await site.db.write_async(
        service.create_key,
        site,
        caller(request),
        label=body.label,
        lifetime_days=body.expires_in_days,
        once=once(request, body.model_dump_json().encode()),
    )
    return reply({**_encode_key(made.record), "key": made.key}, 201, headers(is_new))


@route(
    "DELETE",
    "/api/v2/keys/{key_id}/",
    "End a key, at once and for good",
    status=204,
    right=Right.ACCOUNT,
    tag="extensions",
)
async def revoke_key(request: Request, key_id: str) -> Response:
    await site_of(request).db.write_async(service.revoke_key, caller(request), key_id)
    return empty(204)


# --- invitations ----------------------------------------------------------------------------------


def _encode_invitation(invitation: Invitation) -> dict[str, Any]:
    return {
        "id": invitation.code,
        "email": invitation.email,
        "role": invitation.role.value,
        "invitedBy": invitation.invited_by,
        "dateInserted": instant_text(invitation.created_at),
        "dateExpires": instant_text(invitation.expires_at),
    }


class InvitationBody(Body):
    email: LooseText = needed("")
    role: Role = Role.MEMBER


class AcceptanceBody(Body):
    token: LooseText = needed("")
    full_name: LooseText = ""


@route(
    "GET",
    "/api/v2/invitations/",
    "Invitations that are open",
    *PAGE,
    reply=page_of(INVITATION),
    right=Right.ADMIN,
    tag="extensions",
)
async def list_invitations(request: Request) -> Response:
    site = site_of(request)
    every = site.db.read(service.invitations, site.clock())
    page, found = paging.cut(paging.asked(request), every)
    return reply(paging.envelope(request, page, found, _encode_invitation))


@route(
    "POST",
    "/api/v2/invitations/",
    "Invite somebody; hand the token in the reply over to him",
    body=InvitationBody,
    reply=object_("NewInvitation", **_INVITATION, token=_SECRET),
    status=201,
    right=Right.ADMIN,
    creates=True,
    tag="extensions",
)
async def invite(request: Request) -> Response:
    body = bodies.checked(InvitationBody, await bodies.json_of(request))
    site = site_of(request)
    made, is_new = await site.db.write_async(
        service.invite,
        site,
        caller(request),
        email=body.email,
        role=body.role,
        once=once(request, body.model_dump_json().encode()),
    )
    return reply({**_encode_invitation(made.record), "token": made.token}, 201, headers(is_new))


@route(
    "DELETE",
    "/api/v2/invitations/{invitation_id}/",
    "Withdraw an invitation",
    status=204,
    right=Right.ADMIN,
    tag="extensions",
)
async def withdraw(request: Request, invitation_id: str) -> Response:
    await site_of(request).db.write_async(service.withdraw, invitation_id)
    return empty(204)


@route(
    "POST",
    "/api/v2/invitations/accept/",
    "Become a member with the token of an invitation; the reply has the first key",
    body=AcceptanceBody,
    reply=object_("Acceptance", member=MEMBER, key=_SECRET),
    status=201,
    right=None,
    also=(404,),
    tag="extensions",
)
async def accept(request: Request) -> Response:
    body = bodies.checked(AcceptanceBody, await bodies.json_of(request))
    site = site_of(request)
    user, made = await site.db.write_async(
        service.accept, site, token=body.token, full_name=body.full_name
    )
    return reply({"member": _encode_member(user), "key": made.key}, 201)


# --- the workspace --------------------------------------------------------------------------------

_AMOUNT = text("12.34", "In the site's currency.")
_NO_CHARGE = always("0.00", "This server charges for cores alone.")


@route(
    "GET",
    "/api/v2/organizations/{org}/workspaces/{workspace_id}/billing/",
    "What the workspace used in whole months (UTC), and what it costs",
    *(
        query(name, f"{about}; the present one without it.", "integer")
        for name, about in (
            ("startYear", "Year of the first month"),
            ("startMonth", "First month, from 1"),
            ("endYear", "Year of the last month"),
            ("endMonth", "Last month, included"),
        )
    ),
    reply=object_(
        "BillingSummary",
        id=text("2026-03--2026-04"),
        label=text("March 2026 to April 2026"),
        activeUsers=integer(3),
        jobs=integer(42),
        hardwareUsage=text("123.400", "Core-hours."),
        hardwareCharge=_AMOUNT,
        softwareCharge=_NO_CHARGE,
        storageUsage=text("12.500", "Gigabytes that are stored now."),
        storageCharge=_NO_CHARGE,
        transferUsage=always("0.000", "Not measured."),
        transferCharge=_NO_CHARGE,
        connectionsCharge=_NO_CHARGE,
        platformCharge=_NO_CHARGE,
        deposits=_NO_CHARGE,
        appliedCredit=_NO_CHARGE,
        appliedDeposit=_NO_CHARGE,
        totalCharge=_AMOUNT,
        budgets=array(
            fields(
                kind=choice("project", "member"),
                id=text("pRjctA"),
                name=text("Wing programme", "Of a member, the email."),
                coreHours=_CORE_HOURS,
            ),
            "Projects and members with a budget, as they stand now, whatever the months.",
        ),
    ),
    right=Right.ADMIN,
)
async def billing_summary(request: Request, org: str, workspace_id: str) -> Response:
    site = site_of(request)
    check_organization(site, org, workspace_id)
    months = _months(request)
    summary = await run_in_threadpool(site.db.read, billing.summary, months)
    budgets = await run_in_threadpool(site.db.read, quotas.budgets, site)
    charge = billing.amount(summary.used.charge_micros)
    nothing = "0.00"
    return reply(
        {
            "id": months.code,
            "label": months.label,
            "activeUsers": summary.used.users,
            "jobs": summary.used.jobs,
            "hardwareUsage": f"{summary.core_hours:.3f}",
            "hardwareCharge": charge,
            "softwareCharge": nothing,
            "storageUsage": f"{summary.stored_bytes / 1e9:.3f}",
            "storageCharge": nothing,
            "transferUsage": "0.000",
            "transferCharge": nothing,
            "connectionsCharge": nothing,
            "platformCharge": nothing,
            "deposits": nothing,
            "appliedCredit": nothing,
            "appliedDeposit": nothing,
            "totalCharge": charge,
            "budgets": [
                {
                    "kind": "project" if isinstance(holder, Project) else "member",
                    "id": holder.code,
                    "name": holder.name if isinstance(holder, Project) else holder.email,
                    "coreHours": _encode_core_time(time),
                }
                for holder, time in budgets
            ],
        }
    )


def _months(request: Request) -> billing.Months:
    """The months that a request asks for; this one where it does not say. Raises Invalid."""
    now = site_of(request).clock()
    given: dict[str, int] = {}
    problems = []
    for name, default, low, high in (
        ("startYear", now.year, 2000, 9998),
        ("startMonth", now.month, 1, 12),
        ("endYear", now.year, 2000, 9998),
        ("endMonth", now.month, 1, 12),
    ):
        sent = request.query_params.get(name)
        number = default if sent is None else int(sent) if _is_number(sent) else 0
        if not low <= number <= high:
            problems.append(Problem((name,), f"Give a number from {low} to {high}."))
        given[name] = number
    if not problems and (given["endYear"], given["endMonth"]) < (
        given["startYear"],
        given["startMonth"],
    ):
        problems.append(Problem(("endMonth",), "The end lies before the start."))
    if problems:
        raise Invalid(problems)
    return billing.Months(
        (given["startYear"], given["startMonth"]), (given["endYear"], given["endMonth"])
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


@route(
    "GET",
    "/api/v2/organizations/{org}/workspaces/{workspace_id}/custom-fields/",
    "The custom fields that the workspace prescribes: none, jobs may have any",
    reply=object_("WorkspaceFields", fields=fields(), isEnabled=flag(True)),
)
async def workspace_fields(request: Request, org: str, workspace_id: str) -> Response:
    check_organization(site_of(request), org, workspace_id)
    return reply({"fields": {}, "isEnabled": True})
