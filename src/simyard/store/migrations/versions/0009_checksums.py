"""Checksums for archives whose size is known before"""

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    pass
