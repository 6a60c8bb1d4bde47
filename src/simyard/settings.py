"""What can be set, where it is read from, and what it means.

Read once, by `bootstrap`, and passed on as values. In order of strength: the command line, the
environment (`SIMYARD_` and the name in capitals), `simyard.toml` in the data folder, the default.
`docs/settings.md` is made from this module.
"""

import json
import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

CONFIG_NAME = "simyard.toml"
PREFIX = "SIMYARD_"
_ENGINE = "^[a-z][a-z0-9_-]{0,15}$"


class SettingsError(Exception):
    """A setting that cannot be used; the text names it and where it came from."""


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(description="The data folder: database, blobs, run folders, keys.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8420, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    database: str = Field(
        "", description="Database URL. Empty: SQLite in the data folder, `simyard.db`."
    )
    blobs: str = Field("", description="Where blobs go. Empty: `blobs` in the data folder.")
    engine: str = Field(
        "local",
        pattern=_ENGINE,
        description="What runs the jobs whose core type names no other: `local`, `slurm`, or an"
        " engine that an installed package brings.",
    )
    more_engines: frozenset[Annotated[str, Field(pattern=_ENGINE)]] = Field(
        frozenset(), description="Engines beside that one, for core types that name them."
    )
    slurm_folder: Path | None = Field(
        None,
        description="Where the folders of jobs on Slurm lie: on a file system that every node sees"
        " at the same path. Empty: `slurm` in the data folder.",
    )
    slurm_python: str = Field(
        "/usr/bin/python3",
        pattern="^/",
        description="Python 3.9 or newer on the nodes, for the supervisors of runs.",
    )
    slurm_patience_seconds: float = Field(
        30.0,
        ge=1,
        description="How long Slurm may not know a run whose folder does not tell of its end, until"
        " it counts as lost. At least as long as a node's news takes through the shared folder.",
    )
    engine_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="For engines of other packages, what they want to know, by engine. JSON in the"
        " environment.",
    )
    cores: int = Field(
        0, ge=0, description="Cores that runs may take together. 0: those of the machine."
    )
    sandbox: Literal["auto", "required", "off"] = Field(
        "auto",
        description="Isolation of runs: `auto` takes bubblewrap where it works, `required` does"
        " not start without it, `off` runs without.",
    )
    sandbox_network: bool = Field(
        True, description="Whether runs reach the network (licence servers, the API itself)."
    )
    job_uid: int = Field(
        65534, ge=1, description="User and group id of runs where the server is root."
    )
    max_walltime_seconds: int = Field(
        7 * 24 * 3600, ge=1, description="Longest time that a run may take; also the default."
    )
    stop_grace_seconds: float = Field(
        10.0, ge=0, description="Time between TERM and KILL when a run is stopped."
    )
    stop_recipe_seconds: float = Field(
        60.0,
        ge=0,
        description="How long a run whose solver can be asked to write its state and end has for"
        " that when it is stopped, before TERM; at most what is left of its walltime. A second stop"
        " does not wait. 0: TERM at once.",
    )
    run_memory_mb: int = Field(
        0,
        ge=0,
        description="Memory that one run may use, all its processes together, in millions of bytes."
        " 0: nine tenths of the machine's; on a cluster, what its scheduler gives.",
    )
    run_processes: int = Field(
        4096, ge=0, description="Processes and threads that one run may have at a time. 0: any."
    )
    run_disk_bytes: int = Field(
        0, ge=0, description="Disk space that the folder of one run may take. 0: what there is."
    )
    run_files: int = Field(
        1_000_000, ge=0, description="Files and folders that one run may have. 0: any number."
    )
    run_log_bytes: int = Field(
        10 * 10**9, ge=0, description="Bytes that the log of one run may grow to. 0: any number."
    )
    oversubscribe_max: int = Field(
        4,
        ge=1,
        description="A job may have up to this many times the machine's cores as ranks; beyond"
        " that its number of cores is cut.",
    )
    refuse_versions: frozenset[Literal["near", "far"]] = Field(
        frozenset(),
        description="Version aliases that are refused: those `near` to what is installed (another"
        " release of the same line), those `far` from it, or both.",
    )
    run_uninstalled: Literal["refuse", "shell"] = Field(
        "refuse",
        description="A job whose solver is not installed: `refuse` its submit, or run its command"
        " as a plain `shell` command.",
    )
    gpu_missing: Literal["refuse", "ignore"] = Field(
        "refuse", description="A core type with GPUs on a machine without: refuse it, or ignore."
    )
    max_upload_bytes: int = Field(
        0, ge=0, description="Largest file that may be uploaded. 0: what the disk holds."
    )
    unpack_max_bytes: int = Field(
        100 * 10**9, ge=1, description="Most bytes that the archives of one run may unpack to."
    )
    unpack_max_entries: int = Field(
        200_000, ge=1, description="Most entries that one archive may have."
    )
    study_runs_most: int = Field(
        100_000, ge=1, le=1_000_000, description="Most runs that one study may have."
    )
    disk_reserve_bytes: int = Field(
        512 * 10**6,
        ge=0,
        description="Disk space that uploads, inputs and outputs leave free for the database.",
    )
    master_key: str = Field(
        "",
        description="The master key, 64 hex digits. Empty: `master.key` in the data folder, made"
        " at the first start. Better given by environment or file than in simyard.toml.",
        repr=False,
    )
    master_key_file: Path | None = Field(
        None, description="A file that holds the master key, in place of `master.key`."
    )
    public_url: str = Field(
        "",
        pattern=r"^(https?://[^/?#\s]+(/[A-Za-z0-9_.~-]+)*/?)?$",
        description="Address that links in replies begin with, like `https://jobs.example.org`;"
        " with a path if a proxy takes that away. Empty: what the client used.",
    )
    trusted_proxies: frozenset[str] = Field(
        frozenset(),
        description="Addresses or networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-Proto`,"
        " `-Host`, `-Port` and `-Prefix` are believed when links are made. From anybody else they"
        " are ignored.",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file with the server's certificate and its chain: https, not http."
    )
    tls_key: Path | None = Field(None, description="PEM file with the key of the certificate.")
    job_api_url: str = Field(
        "",
        pattern=r"^(https?://[^/?#\s]+/?)?$",
        description="Where runs reach this API (`RESCALE_API_BASE_URL`). Empty: the address that"
        " the server listens on, or `public_url` where it speaks https.",
    )
    key_lifetime_days: int = Field(
        0, ge=0, description="Longest that a new API key is good. 0: until it is revoked."
    )
    project_required: bool = Field(
        False, description="Whether every job must name one of the site's projects."
    )
    user_storage_bytes: int = Field(
        0,
        ge=0,
        description="Bytes that the files of one user may take, uploads and outputs, those in the"
        " trash too; an output that is an input unchanged takes none. Beyond that he can neither"
        " upload nor submit; outputs are stored all the same. 0: what the disk holds.",
    )
    user_jobs_running_most: int = Field(
        0,
        ge=0,
        description="Most jobs of one user that hold cores at a time; further ones wait, and those"
        " of others pass them. 0: as many as there are cores for.",
    )
    user_jobs_queued_most: int = Field(
        0,
        ge=0,
        description="Most jobs of one user that wait for cores; further submits are refused."
        " 0: any number.",
    )
    user_core_hours_per_month: float = Field(
        0,
        ge=0,
        le=1e9,
        allow_inf_nan=False,
        description="Core-hours that one user may use in a calendar month (UTC). A submit that"
        " could lead beyond them, with its cores and walltime and those of all jobs that are not"
        " at their end, is refused. 0: any number.",
    )
    profile: Literal["open", "faithful"] = Field(
        "open",
        description="Rate limits: `open` has none, `faithful` keeps Rescale's published ones and"
        " answers 429 beyond them, for testing clients.",
    )
    site_name: str = Field("Simyard", description="Name of the installation in `users/me`.")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, texts: frozenset[str]) -> frozenset[str]:
        stripped = frozenset(text.strip() for text in texts)
        for text in sorted(stripped):
            try:
                ip_network(text)
            except ValueError as error:
                raise PydanticCustomError("network", "{why}", {"why": str(error)}) from None
        return stripped

    @property
    def engines(self) -> list[str]:
        """All that are set up, the installation's own first."""
        return [self.engine, *sorted(self.more_engines - {self.engine})]

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.data / 'simyard.db'}"


def load(
    data: Path, given: Mapping[str, Any], environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings of the installation in this data folder.

    given: what the command line says; None stands for nothing said. Raises SettingsError.
    """
    sources: dict[str, str] = {}
    values: dict[str, Any] = {}
    path = data / CONFIG_NAME
    if path.exists():
        try:
            read = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:  # bad TOML, or no UTF-8
            raise SettingsError(f"{path}: {error}") from None
        if "data" in read:
            raise SettingsError(f"{path}: data: this file lies in the data folder; give --data")
        for name, value in read.items():
            values[name], sources[name] = value, str(path)
    for name in Settings.model_fields:
        variable = PREFIX + name.upper()
        if name != "data" and variable in environment:
            text = environment[variable]
            many = name in ("refuse_versions", "trusted_proxies", "more_engines")
            values[name] = [w for w in text.split(",") if w] if many else text
            if name == "engine_options":
                try:
                    values[name] = json.loads(text)
                except ValueError as error:
                    raise SettingsError(f"{variable}: this is not JSON: {error}") from None
            sources[name] = variable
    for name, value in given.items():
        if value is not None:
            values[name], sources[name] = value, f"--{name.replace('_', '-')}"
    try:
        return Settings(**{**values, "data": data})
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            name = str(problem["loc"][0]) if problem["loc"] else "?"
            unknown = problem["type"] == "extra_forbidden"
            what = "there is no such setting" if unknown else problem["msg"]
            problems.append(f"{sources.get(name, path)}: {name}: {what}")
        raise SettingsError("\n".join(problems)) from None
