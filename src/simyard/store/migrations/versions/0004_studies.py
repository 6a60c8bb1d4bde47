"""Runs with values, studies that have slots"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "studies",
        sa.Column("job_id", number, nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("answered", sa.BigInteger(), nullable=False),
        sa.Column("closed_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_studies_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_studies")),
    )
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.create_index(
            "ix_studies_owed",
            ["job_id"],
            unique=False,
            sqlite_where=sa.text("is_open IS 1"),
        )
    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.alter_column("code", existing_type=sa.String(12), type_=sa.Text())
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.Integer(), server_default="3", nullable=False))
        batch_op.add_column(sa.Column("parent_number", sa.Integer(), nullable=True))
        for name in ("is_nominal", "is_optimal"):
            batch_op.add_column(sa.Column(name, sa.Boolean(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("inputs", sa.Text(), nullable=True))
        batch_op.add_column(sa.Column("outputs", sa.Text(), nullable=True))
        batch_op.create_index(
            "ix_runs_nominal",
            ["job_id"],
            unique=False,
            sqlite_where=sa.text("is_nominal = 1"),
        )
        batch_op.create_index(
            "ix_runs_optimal",
            ["job_id"],
            unique=False,
            sqlite_where=sa.text("is_optimal IS 1"),
        )
        batch_op.create_index(
            "ix_runs_job_id_state_number", ["job_id", "state", "number"], unique=False
        )
