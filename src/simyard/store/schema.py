"""The tables. Migrations bring an older database to this shape; a new one is created from it.

Times are whole microseconds since 1970 (UTC): they sort, compare and index as numbers, the same in
both dialects. Short ids ("codes") are random letters, unique by constraint.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

from simyard.domain.lifecycle import JOB_WORDS, LOCAL, State

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else _instant(value)


@lru_cache(4096)  # the same object again, whose hash is known, for the text that is made of it
def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


AnyRow = Row[*tuple[Any, ...]]

# SQLite numbers rows itself only for a column declared exactly INTEGER PRIMARY KEY.
_Id = BigInteger().with_variant(Integer, "sqlite")

# Partial indexes name their condition for SQLite only: the word for PostgreSQL would load its
# dialect at every start (70 ms).
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = Table(
    "users",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("code", String(12), nullable=False, unique=True),
    Column("email", String(254), nullable=False, unique=True),
    Column("full_name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("left_at", Instant),  # his keys open nothing from then on
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("user_id", _Id, ForeignKey("users.id"), nullable=False, index=True),
    # HMAC of the key under a secret of this installation; the key itself is not kept.
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("label", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
)

# Browsers that are somebody: a row until the session is ended.
sessions = Table(
    "sessions",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),  # HMAC of what the cookie holds
    Column("user_id", _Id, ForeignKey("users.id"), nullable=False, index=True),
    Column("api_key_id", _Id, ForeignKey("api_keys.id")),  # none: made from a link
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

# Each opens one session; it goes when it is used.
login_links = Table(
    "login_links",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),  # HMAC of the token
    Column("user_id", _Id, ForeignKey("users.id"), nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

# Offers to become a member.
invitations = Table(
    "invitations",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("code", String(12), nullable=False, unique=True),
    Column("email", String(254), nullable=False),
    Column("role", String(16), nullable=False),
    Column("digest", LargeBinary, nullable=False, unique=True),  # HMAC of what opens it
    Column("invited_by", _Id, ForeignKey("users.id"), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("closed_at", Instant),  # taken or withdrawn
)

projects = Table(
    "projects",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("code", String(12), nullable=False, unique=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("external_id", String(255), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("closed_at", Instant),
    Column("monthly_core_microseconds", BigInteger),  # none: as much as it likes
)

blobs = Table(
    "blobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("key", String(80), nullable=False, unique=True),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("md5", String(32), nullable=False),
    Column("sha512", String(128), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("crc32", BigInteger),  # none: of an earlier release, and not needed since
)

# Blobs that no file shows any more: a to-do list for the worker.
blob_deletions = Table(
    "blob_deletions",
    metadata,
    Column("key", String(80), primary_key=True),
    Column("asked_at", Instant, nullable=False),
)

# Uploads that go on where they were cut (docs/adr/0034).
uploads = Table(
    "uploads",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("code", String(12), nullable=False, unique=True),
    Column("owner_id", _Id, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("relative_path", Text, nullable=False),
    Column("type_id", Integer, nullable=False),
    Column("batch", String(64), nullable=False),
    Column("fingerprint", String(255), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("offset_bytes", BigInteger, nullable=False),  # of its parts, and the tail
    Column("tail", LargeBinary, nullable=False),  # sealed: what follows its parts
    Column("expires_at", Instant, nullable=False, index=True),
    Column("file_code", String(12)),  # what it became; none: unfinished
    Index(
        "ix_uploads_unfinished",
        "owner_id",
        "id",
        sqlite_where=Column("file_code").is_(None),
    ),
)

# What arrived of them: blobs that were never finished, of so many bytes in whole segments.
upload_parts = Table(
    "upload_parts",
    metadata,
    Column("key", String(80), primary_key=True),
    Column("upload_id", _Id, ForeignKey("uploads.id"), nullable=False),
    Column("number", Integer, nullable=False),  # their order
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    UniqueConstraint("upload_id", "number"),
)

# Where members keep their uploads. A member's library itself has no row.
folders = Table(
    "folders",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("code", String(12), nullable=False, unique=True),
    Column("owner_id", _Id, ForeignKey("users.id"), nullable=False),
    Column("parent_id", _Id, ForeignKey("folders.id"), index=True),  # none: the library
    Column("name", String(255), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("trashed_at", Instant),
    Index("ix_folders_owner_id_parent_id_name", "owner_id", "parent_id", "name"),
)

files = Table(
    "files",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("code", String(12), nullable=False, unique=True),
    Column("owner_id", _Id, ForeignKey("users.id"), nullable=False),
    Column("owner_ordinal", BigInteger, nullable=False),  # place in the owner's list
    Column("job_id", _Id, ForeignKey("jobs.id")),  # of outputs
    Column("run_number", Integer),  # of outputs
    Column("job_ordinal", BigInteger),  # place in the job's list of outputs
    Column("run_ordinal", BigInteger),  # place in the run's list of outputs
    Column("folder_id", _Id, ForeignKey("folders.id")),  # none: the owner's library itself
    # None for a file that was deleted while jobs still name it.
    Column("blob_id", _Id, ForeignKey("blobs.id")),
    Column("type_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("relative_path", Text, nullable=False),
    Column("storage_path", Text, nullable=False),
    Column("uploaded_at", Instant, nullable=False),
    Column("trashed_at", Instant),  # out of every list, until it is recovered or deleted
    Column("modified_at", Instant),  # of outputs: when the run wrote it
    UniqueConstraint("owner_id", "owner_ordinal"),
    UniqueConstraint("job_id", "job_ordinal"),
    UniqueConstraint("job_id", "run_number", "run_ordinal"),
    Index("ix_files_blob_id_owner_id", "blob_id", "owner_id"),
    Index("ix_files_owner_id_type_id_owner_ordinal", "owner_id", "type_id", "owner_ordinal"),
    Index(
        "ix_files_library",
        "owner_id",
        "folder_id",
        "owner_ordinal",
        sqlite_where=Column("job_id").is_(None),
    ),
    # Outputs by their path, the newest of one path too.
    Index(
        "ix_files_of_run",
        "job_id",
        "run_number",
        "relative_path",
        "run_ordinal",
        sqlite_where=Column("job_id").is_not(None),
    ),
)

file_tags = Table(
    "file_tags",
    metadata,
    Column("file_id", _Id, ForeignKey("files.id"), primary_key=True),
    Column("normalized", String(100), primary_key=True),
    Column("name", String(100), nullable=False),
)


def is_active(status: Column[str]) -> ColumnElement[bool]:
    """Of the newest word of a job: it was submitted and is not completed."""
    return (status != "") & (status != JOB_WORDS[State.COMPLETED])


jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("code", String(12), nullable=False, unique=True),
    Column("owner_id", _Id, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("definition", LargeBinary, nullable=False),  # JSON of domain.jobs.JobDefinition
    Column("analysis_names", Text, nullable=False),  # JSON list
    Column("notices", Text, nullable=False),  # JSON list
    Column("state", String(16), nullable=False),
    Column("status", String(32), nullable=False),  # the newest word, "" for a draft
    Column("cluster_status", String(32), nullable=False),
    Column("storage_bytes", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("submitted_at", Instant),
    # Few among very many: those that were submitted and are not completed.
    Index(
        "ix_jobs_active",
        "status",
        sqlite_where=is_active(Column("status")),
    ),
)

# Who may see a job: one row per viewer and job, in the order of the viewer's list.
job_views = Table(
    "job_views",
    metadata,
    Column("viewer_id", _Id, ForeignKey("users.id"), primary_key=True),
    Column("ordinal", BigInteger, primary_key=True),
    Column("job_id", _Id, ForeignKey("jobs.id"), nullable=False),
    Column("completed", Boolean, nullable=False),  # as the job is: lists are filtered by it
    UniqueConstraint("job_id", "viewer_id"),
    Index("ix_job_views_viewer_id_completed_ordinal", "viewer_id", "completed", "ordinal"),
)

job_tags = Table(
    "job_tags",
    metadata,
    Column("job_id", _Id, ForeignKey("jobs.id"), primary_key=True),
    Column("normalized", String(100), primary_key=True),
    Column("name", String(100), nullable=False),
)

job_custom_fields = Table(
    "job_custom_fields",
    metadata,
    Column("job_id", _Id, ForeignKey("jobs.id"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("value", Text, nullable=False),  # JSON
)

# Which files a job names as inputs and scripts.
job_inputs = Table(
    "job_inputs",
    metadata,
    Column("job_id", _Id, ForeignKey("jobs.id"), primary_key=True),
    Column("file_id", _Id, ForeignKey("files.id"), primary_key=True, index=True),
)

# Jobs that somebody is still writing: whatever JSON he keeps.
drafts = Table(
    "drafts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("code", String(12), nullable=False, unique=True),
    Column("owner_id", _Id, ForeignKey("users.id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("version", Integer, nullable=False),  # grows with every change
    Column("updated_at", Instant, nullable=False),
    Column("job", String(12)),  # code of the job that came of it; none: not submitted
    Column("size_bytes", Integer, nullable=False),  # of the body
    Column("body", LargeBinary, nullable=False),  # JSON object
    Index(
        "ix_drafts_owner_id_updated_at",
        "owner_id",
        "updated_at",
        sqlite_where=Column("job").is_(None),
    ),
    Index("ix_drafts_submitted", "updated_at", sqlite_where=Column("job").is_not(None)),
)

# The history that `statuses/` and `cluster_statuses/` show.
statuses = Table(
    "statuses",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("job_id", _Id, ForeignKey("jobs.id"), nullable=False),
    Column("track", String(8), nullable=False),  # "job" or "cluster"
    Column("word", String(32), nullable=False),
    Column("reason", Text),
    Column("at", Instant, nullable=False),
    Index("ix_statuses_job_id_track_id", "job_id", "track", "id"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("job_id", _Id, ForeignKey("jobs.id"), nullable=False),
    Column("owner_id", _Id, ForeignKey("users.id"), nullable=False),  # as the job's
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("low_priority", Boolean, nullable=False),
    Column("cores", Integer, nullable=False),  # set aside while it holds any
    Column("core_type", String(64), nullable=False),
    Column("engine", String(16), nullable=False, server_default=LOCAL),
    # Millionths of the site's currency for a core and hour, as it was at the submit.
    Column("price_micros", BigInteger, nullable=False),
    # Kept free for it in the budgets until it ends; none: nothing, or not any more.
    Column("reserved_core_microseconds", BigInteger),
    Column("token", String(40)),  # of the present attempt
    Column("started_at", Instant),
    Column("completed_at", Instant),
    Column("output_count", Integer, nullable=False),
    Column("output_bytes", BigInteger, nullable=False),
    Column("ending", Text),  # JSON of domain.runs.Ending
    Column("outcome", Text),  # JSON of domain.outcome.Outcome
    Column("samples", LargeBinary),  # zlib over JSON of domain.runs.Sample's; read alone
    Column("restart", Text),  # JSON of domain.runs.Restart; none: it is as its job says
    Column("kind", Integer, nullable=False, server_default="3"),  # domain.runs.Kind
    Column("parent_number", Integer),
    Column("is_nominal", Boolean, nullable=False, server_default="0"),
    Column("is_optimal", Boolean, nullable=False, server_default="0"),
    Column("inputs", Text),  # JSON of domain.studies.Value's; none: it is no study's
    Column("outputs", Text),  # JSON of domain.outputs.Outputs; none: it gave none
    # Grows whenever files are added to its outputs, taken from them or renamed.
    Column("outputs_version", Integer, nullable=False, server_default="0"),
    UniqueConstraint("job_id", "number"),
    # The few that are nominal.
    Index("ix_runs_nominal", "job_id", sqlite_where=Column("is_nominal") == 1),
    # The few that are the best of their job.
    Index(
        "ix_runs_optimal",
        "job_id",
        sqlite_where=Column("is_optimal").is_(True),
    ),
    # How far the runs of a job are, and which of them waits for the next slot.
    Index("ix_runs_job_id_state_number", "job_id", "state", "number"),
    UniqueConstraint("token"),
    # The queue: runs that owe something, in the order in which they are served.
    Index(
        "ix_runs_owed",
        "state",
        "low_priority",
        "id",
        sqlite_where=Column("state") != State.CLOSED.value,
    ),
    # The same of each user: his part of the queue, and how many jobs he has there.
    Index(
        "ix_runs_owed_to_owner",
        "owner_id",
        "state",
        "low_priority",
        "id",
        "job_id",
        sqlite_where=Column("state") != State.CLOSED.value,
    ),
)

# What is known of a study beside its job's definition and its runs, from its submit on.
studies = Table(
    "studies",
    metadata,
    Column("job_id", _Id, ForeignKey("jobs.id"), primary_key=True),
    Column("slots", Integer, nullable=False),  # most runs that hold one at the same time
    # More runs may come: while it is, the job is not at its end although all its runs are.
    Column("is_open", Boolean, nullable=False),
    Column("asked", Integer, nullable=False),  # runs that its optimizer has asked for
    # Grows with everything that its optimizer may want to know of.
    Column("version", BigInteger, nullable=False),
    Column("answered", BigInteger, nullable=False),  # the version that it was last asked about
    Column("closed_because", Text),  # why no more runs come
    Index(
        "ix_studies_owed",
        "job_id",
        sqlite_where=Column("is_open").is_(True),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("run_id", _Id, ForeignKey("runs.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("token", String(40), nullable=False, unique=True),
    Column("engine", String(16), nullable=False),
    Column("programs", Text, nullable=False),  # JSON: what was asked for and what ran
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("ended_at", Instant),
    Column("ending", Text),
    UniqueConstraint("run_id", "number"),
)

# Archives of live folders that were asked for: a to-do list, and a record.
snapshots = Table(
    "snapshots",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("code", String(12), nullable=False, unique=True),  # the archive's, once there
    Column("run_id", _Id, ForeignKey("runs.id"), nullable=False, index=True),
    Column("asked_at", Instant, nullable=False),
    Column("done_at", Instant),
    Column("failure", Text),  # why there is none
    Index(
        "ix_snapshots_owed",
        "id",
        sqlite_where=Column("done_at").is_(None),
    ),
)

# What was used and what it costs: a row for every attempt that ran. It outlives the job.
usage = Table(
    "usage",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("ended_at", Instant, nullable=False, index=True),
    Column("user_id", _Id, ForeignKey("users.id"), nullable=False),
    Column("project", String(12), nullable=False),  # code, "" for none
    Column("job", String(12), nullable=False),  # code
    Column("run_number", Integer, nullable=False),
    Column("core_type", String(64), nullable=False),
    Column("core_microseconds", BigInteger, nullable=False),
    Column("charge_micros", BigInteger, nullable=False),
)

# Answers to questions that took time, kept for a day.
tasks = Table(
    "tasks",
    metadata,
    Column("token", String(36), primary_key=True),
    Column("user_id", _Id, ForeignKey("users.id"), nullable=False),
    Column("result", Text, nullable=False),  # JSON
    Column("created_at", Instant, nullable=False, index=True),
)

# One row for every change of state, written in the same transaction.
events = Table(
    "events",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("job_id", _Id),
    Column("run_number", Integer),
    Column("data", Text, nullable=False),  # JSON object
)

# What an Idempotency-Key has already brought about, recorded with the effect itself.
idempotency = Table(
    "idempotency",
    metadata,
    Column("user_id", _Id, ForeignKey("users.id"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),  # of the request
    Column("noun", String(16), nullable=False),
    Column("code", Text, nullable=False),  # of what was created
    Column("created_at", Instant, nullable=False, index=True),
)

# What users and projects have of what is limited: see store/counters.py.
counters = Table(
    "counters",
    metadata,
    Column("name", String(60), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# Counters that keep lists flat: see store/listing.py.
list_heads = Table(
    "list_heads",
    metadata,
    Column("list", String(40), primary_key=True),
    Column("next_ordinal", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
)

list_chunks = Table(
    "list_chunks",
    metadata,
    Column("list", String(40), primary_key=True),
    Column("chunk", BigInteger, primary_key=True),
    Column("total", Integer, nullable=False),
)
