"""What is said of runs that ended, and what they used; quotas and budgets"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("outcome", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("samples", sa.LargeBinary(), nullable=True))
        batch_op.add_column(sa.Column("restart", sa.Text(), nullable=True))

    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    with op.batch_alter_table("projects", schema=None) as batch_op:
        batch_op.add_column(sa.Column("monthly_core_microseconds", sa.BigInteger(), nullable=True))
    with op.batch_alter_table("files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_files_blob_id"))
        batch_op.create_index("ix_files_blob_id_owner_id", ["blob_id", "owner_id"], unique=False)

    # What was submitted before reserves nothing: how long it may run is not told by the database.
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("owner_id", number, nullable=True))
        batch_op.add_column(sa.Column("reserved_core_microseconds", sa.BigInteger(), nullable=True))
    op.execute("UPDATE runs SET owner_id = (SELECT owner_id FROM jobs WHERE jobs.id = runs.job_id)")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.alter_column("owner_id", existing_type=number, nullable=False)
        batch_op.create_foreign_key(batch_op.f("fk_runs_owner_id"), "users", ["owner_id"], ["id"])
        batch_op.create_index(
            "ix_runs_owed_to_owner",
            ["owner_id", "state", "low_priority", "id", "job_id"],
            unique=False,
            sqlite_where=sa.text("state != 'closed'"),
            postgresql_where=sa.text("state != 'closed'"),
        )

    # Counters begin with what is there: see store/counters.py.
    op.execute(
        "INSERT INTO counters (name, value)"
        " SELECT 'stored:' || shown.owner_id, sum(blobs.size_bytes) FROM blobs JOIN"
        " (SELECT DISTINCT owner_id, blob_id FROM files WHERE blob_id IS NOT NULL) AS shown"
        " ON shown.blob_id = blobs.id GROUP BY shown.owner_id"
    )
    month = "strftime('%Y-%m', ended_at / 1000000, 'unixepoch')"
    for name, chosen in (
        (f"'used:user:' || user_id || ':' || {month}", "1"),
        (f"'used:project:' || project || ':' || {month}", "project != ''"),
    ):
        op.execute(
            f"INSERT INTO counters (name, value) SELECT {name}, sum(core_microseconds)"
            f" FROM usage WHERE {chosen} GROUP BY 1"
        )
