"""Outputs are found by their path"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    with op.batch_alter_table("files", schema=None) as batch_op:
        batch_op.create_index(
            "ix_files_of_run",
            ["job_id", "run_number", "relative_path", "run_ordinal"],
            unique=False,
            sqlite_where=sa.text("job_id IS NOT NULL"),
        )
