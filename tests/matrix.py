"""Who may do what: the policy, stated apart from the code that keeps to it.

Every operation of the API has a row; `docs/authorisation.md` is made from here, and
tests/api/test_authorisation.py sends every request as every caller.
"""

from enum import StrEnum

from simyard.api.app import OPERATIONS
from simyard.api.routes import Operation
from simyard.domain.users import Right


class Who(StrEnum):
    OWNER = "owner"
    SHARED = "shared with"  # a member with whom the owner has shared the job
    OTHER = "other member"
    READ_ONLY = "read-only"  # a read-only member with whom the owner has shared the job
    ADMIN = "admin"  # with whom nothing is shared
    ANONYMOUS = "anonymous"
    EXPIRED = "expired key"
    REVOKED = "revoked key"
    RUNNING = "key of a running job"  # of the owner
    FINISHED = "key of a finished job"


class Answer(StrEnum):
    YES = "yes"
    UNKNOWN = "401"
    FORBIDDEN = "403"
    HIDDEN = "404"


class Subject(StrEnum):
    """Whose thing an operation is about."""

    NOBODY = "nobody's"  # what is the same for all, and lists of what the caller sees
    JOB = "a job's"  # and its runs, outputs and inputs: they can be shared
    PRIVATE = "its owner's alone"


_NO_KEY = {Who.ANONYMOUS, Who.EXPIRED, Who.REVOKED, Who.FINISHED}
_SEES = {Who.OWNER, Who.SHARED, Who.READ_ONLY, Who.RUNNING}
_OWNS = {Who.OWNER, Who.RUNNING}
_RIGHTS = {
    Right.READ: set(Who) - _NO_KEY,
    Right.WRITE: set(Who) - _NO_KEY - {Who.READ_ONLY},
    Right.ACCOUNT: set(Who) - _NO_KEY - {Who.RUNNING},
    Right.ADMIN: {Who.ADMIN},
}


def subject(operation: Operation) -> Subject:
    names = set(operation.parameter_names)
    if names & {"job_id", "file_id", "cluster_id"}:
        return Subject.JOB
    if names & {"folder_id", "token", "key_id", "draft_id", "upload_id"}:
        return Subject.PRIVATE
    return Subject.NOBODY


def answer(operation: Operation, who: Who) -> Answer:
    """What a caller is to get."""
    if operation.right is None:
        return Answer.YES
    if who in _NO_KEY:
        return Answer.UNKNOWN
    if who not in _RIGHTS[operation.right]:
        return Answer.FORBIDDEN
    match subject(operation):
        case Subject.JOB if who not in _SEES:
            return Answer.HIDDEN
        case Subject.JOB if operation.right is Right.WRITE and who not in _OWNS:
            # The password of a desktop that nobody has is refused to whoever sees the job, and a
            # draft that is made of a job is the caller's.
            seen = "cluster_id" in operation.path or operation.path.endswith("/draft/")
            return Answer.YES if seen else Answer.FORBIDDEN
        case Subject.PRIVATE if who not in _OWNS:
            return Answer.HIDDEN
    return Answer.YES


ABOUT = """# Who may do what

Every operation of the API and every kind of caller. Made from the table of routes and the policy in
`tests/matrix.py`; `tests/api/test_authorisation.py` sends each of these requests as each of these
callers. A route without a row fails the tests.

`yes`: the request is carried out, or refused for a reason that has nothing to do with the caller.
`401`: no key that is in force. `403`: it may be seen and not changed, or the role is not enough.
`404`: it is not there for this caller; whether it exists is not told. The thing asked about is the
owner's; `shared with` and `read-only` are members with whom the owner has shared the job. An
administrator sees the jobs of others only where they were shared with him. The key of a running job
acts as its owner, but for what concerns his account and the organisation.

"""


def page() -> str:
    callers = list(Who)
    lines = [
        "| operation | " + " | ".join(callers) + " |",
        "| --- |" + " --- |" * len(callers),
    ]
    for operation in sorted(OPERATIONS, key=lambda one: (one.path, one.method)):
        answers = " | ".join(answer(operation, who) for who in callers)
        path = operation.path.replace(":path}", "}")
        lines.append(f"| `{operation.method} {path}` | {answers} |")
    return ABOUT + "\n".join(lines) + "\n"
