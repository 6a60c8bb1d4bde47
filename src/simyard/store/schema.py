"""The tables. Migrations bring an older database to this shape; a new one is created from it.

Times are whole microseconds since 1970 (UTC): they sort, compare and index as numbers, the same in
both dialects. Short ids ("codes") are random letters, unique by constraint.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
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

from simyard.domain.lifecycle import State

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware datetime, kept as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


AnyRow = Row[*tuple[Any, ...]]

# SQLite numbers rows itself only for a column declared exactly INTEGER PRIMARY KEY.
_Id = BigInteger().with_variant(Integer, "sqlite")

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
)

# Blobs that no file shows any more: a to-do list for the worker.
blob_deletions = Table(
    "blob_deletions",
    metadata,
    Column("key", String(80), primary_key=True),
    Column("asked_at", Instant, nullable=False),
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
    Column("blob_id", _Id, ForeignKey("blobs.id"), nullable=False, index=True),
    Column("type_id", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("relative_path", Text, nullable=False),
    Column("storage_path", Text, nullable=False),
    Column("uploaded_at", Instant, nullable=False),
    UniqueConstraint("owner_id", "owner_ordinal"),
    UniqueConstraint("job_id", "job_ordinal"),
    Index("ix_files_job_id_run_number_job_ordinal", "job_id", "run_number", "job_ordinal"),
)

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
)

# Who may see a job: one row per viewer and job, in the order of the viewer's list.
job_views = Table(
    "job_views",
    metadata,
    Column("viewer_id", _Id, ForeignKey("users.id"), primary_key=True),
    Column("ordinal", BigInteger, primary_key=True),
    Column("job_id", _Id, ForeignKey("jobs.id"), nullable=False),
    UniqueConstraint("job_id", "viewer_id"),
)

# Which files a job names as inputs and scripts.
job_inputs = Table(
    "job_inputs",
    metadata,
    Column("job_id", _Id, ForeignKey("jobs.id"), primary_key=True),
    Column("file_id", _Id, ForeignKey("files.id"), primary_key=True, index=True),
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
    Column("number", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("low_priority", Boolean, nullable=False),
    Column("cores", Integer, nullable=False),  # set aside while it holds any
    Column("token", String(40)),  # of the present attempt
    Column("started_at", Instant),
    Column("completed_at", Instant),
    Column("output_count", Integer, nullable=False),
    Column("output_bytes", BigInteger, nullable=False),
    Column("ending", Text),  # JSON of domain.runs.Ending
    UniqueConstraint("job_id", "number"),
    UniqueConstraint("token"),
    # The queue: runs that owe something, in the order in which they are served.
    Index(
        "ix_runs_owed",
        "state",
        "low_priority",
        "id",
        sqlite_where=Column("state") != State.CLOSED.value,
        postgresql_where=Column("state") != State.CLOSED.value,
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
    Index("ix_events_at", "at"),
)

# What an Idempotency-Key has already brought about, recorded with the effect itself.
idempotency = Table(
    "idempotency",
    metadata,
    Column("user_id", _Id, ForeignKey("users.id"), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),  # of the request
    Column("noun", String(16), nullable=False),
    Column("code", String(12), nullable=False),  # of what was created
    Column("created_at", Instant, nullable=False, index=True),
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
