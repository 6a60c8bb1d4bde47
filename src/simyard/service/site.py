"""One installation, as use cases see it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from simyard.blobs.keyring import Keyring
from simyard.blobs.sealed import SealedBlobs
from simyard.domain.catalogue import Machine
from simyard.domain.jobs import Limits
from simyard.engines.protocol import Engine
from simyard.service.catalogue import CatalogueBook
from simyard.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Site:
    name: str
    public_url: str  # "https://host", for absolute links; "": what the client used
    data: Path
    db: Database
    blobs: SealedBlobs
    keyring: Keyring
    engine: Engine
    book: CatalogueBook
    machine: Machine
    limits: Limits
    clock: Callable[[], datetime]
    wake: Callable[[], None]  # tell the worker that something is owed; cheap, from any thread
    run_uninstalled: bool  # run the command although its solver is not installed
    stop_grace_seconds: float
    max_upload_bytes: int  # 0: no limit but the disk
    unpack_max_bytes: int
    unpack_max_entries: int
