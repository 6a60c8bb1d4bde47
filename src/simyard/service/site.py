"""One installation, as use cases see it."""

from collections.abc import Callable, Mapping, Set
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from simyard.blobs.keyring import Keyring
from simyard.blobs.sealed import SealedBlobs
from simyard.domain.catalogue import Machine
from simyard.domain.errors import Unavailable
from simyard.domain.jobs import Limits
from simyard.domain.lifecycle import LOCAL
from simyard.domain.records import dataclass
from simyard.domain.runs import Allowance, Run
from simyard.domain.users import Quotas
from simyard.engines.protocol import Engine
from simyard.service.catalogue import CatalogueBook
from simyard.service.inputs import SharedInputs
from simyard.service.load import LoadBook
from simyard.service.templates import TemplateBook
from simyard.service.users import Callers
from simyard.store.database import Database


@dataclass(frozen=True, kw_only=True)
class Site:
    name: str
    public_url: str  # "https://host", for absolute links; "": what the client used
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]  # who is believed about the rest
    profile: str  # "open", or "faithful": with the rate limits that Rescale has
    job_api_url: str  # "http://127.0.0.1:8420", where runs reach the API; "": they do not
    data: Path
    db: Database
    blobs: SealedBlobs
    keyring: Keyring
    callers: Callers  # by key
    sessions: Callers  # by the token of a session
    engines: Mapping[str, Engine]  # by name; the installation's own first
    book: CatalogueBook
    machine: Machine
    load: LoadBook
    shared: SharedInputs
    templates: TemplateBook
    limits: Limits
    allowance: Allowance  # what each run may use; its walltime is its own
    quotas: Quotas
    clock: Callable[[], datetime]
    wake: Callable[[], None]  # tell the worker that something is owed; cheap, from any thread
    key_lifetime_days: int  # longest that a new key is good; 0: for ever
    run_uninstalled: bool  # run the command although its solver is not installed
    stop_grace_seconds: float
    stop_recipe_seconds: float
    max_upload_bytes: int  # 0: no limit but the disk
    unpack_max_bytes: int
    unpack_max_entries: int

    @property
    def engine(self) -> Engine:
        """What runs jobs whose core type names no other."""
        return next(iter(self.engines.values()))

    @property
    def schedulers(self) -> Set[str]:
        """The engines that give cores by themselves, by name."""
        return self.engines.keys() - {LOCAL}

    def engine_of(self, run: Run) -> Engine:
        """What runs this run. Raises Unavailable where it is not configured any more."""
        try:
            return self.engines[run.engine]
        except KeyError:
            raise Unavailable(
                f"The engine {run.engine}, which has this run, is not configured."
            ) from None

    @property
    def company_code(self) -> str:
        """One installation is one organisation with one workspace, both named after the site."""
        return "".join(c for c in self.name.lower() if c.isascii() and c.isalnum()) or "simyard"

    @property
    def workspace_id(self) -> str:
        return "01-0001"
