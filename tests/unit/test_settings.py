"""Settings: where they come from, which is the strongest, and what is said of wrong ones."""

from pathlib import Path

import pytest

from simyard.settings import CONFIG_NAME, PREFIX, Settings, SettingsError, load

SECRET = "5ec2e7" * 11


def settings(data: Path, toml: str = "", **more: object) -> Settings:
    """Settings of a data folder with this file, this environment and this command line."""
    (data / CONFIG_NAME).write_text(toml)
    environment = more.pop("environment", {})
    assert isinstance(environment, dict)
    return load(data, more, environment)


def refusal(data: Path, toml: str = "", **more: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(data, toml, **more)
    return str(caught.value).split("\n")


# --- where they come from -------------------------------------------------------------------------


def test_nothing_need_be_set(tmp_path: Path) -> None:
    found = load(tmp_path, {}, {})
    assert found.data == tmp_path
    assert (found.host, found.port, found.engine, found.sandbox) == (
        "127.0.0.1",
        8420,
        "local",
        "auto",
    )
    assert found.refuse_versions == frozenset()
    assert found.database_url == f"sqlite:///{tmp_path}/simyard.db"
    assert found.max_walltime_seconds == 604_800


def test_the_command_line_is_stronger_than_the_environment_than_the_file(tmp_path: Path) -> None:
    toml = "port = 1\ncores = 1\nsite_name = 'file'"
    environment = {"SIMYARD_PORT": "2", "SIMYARD_CORES": "2"}
    found = settings(tmp_path, toml, environment=environment, port=3)
    assert (found.port, found.cores, found.site_name) == (3, 2, "file")
    found = settings(tmp_path, toml, environment=environment, port=None)
    assert found.port == 2, "None stands for nothing said"
    assert settings(tmp_path, toml, port=0).port == 0, "0 is something"


def test_the_processes_own_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMYARD_SITE_NAME", "Here")
    assert load(tmp_path, {}).site_name == "Here"


def test_text_of_the_environment_becomes_what_it_stands_for(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        environment={
            "SIMYARD_SANDBOX_NETWORK": "false",
            "SIMYARD_STOP_GRACE_SECONDS": "1.5",
            "SIMYARD_REFUSE_VERSIONS": "near,far",
            "SIMYARD_TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "SIMYARD_MASTER_KEY_FILE": "/run/key",
            "UNRELATED": "x",
            "SIMYARD_": "x",
            "simyard_port": "1",
        },
    )
    assert found.sandbox_network is False
    assert found.stop_grace_seconds == 1.5
    assert found.refuse_versions == {"near", "far"}
    assert found.trusted_proxies == {"10.0.0.0/8", "::1"}
    assert found.master_key_file == Path("/run/key")
    assert found.port == 8420
    assert (
        settings(
            tmp_path, "refuse_versions = ['far']", environment={"SIMYARD_REFUSE_VERSIONS": ""}
        ).refuse_versions
        == frozenset()
    ), "nothing is refused, whatever the file says"


MANY = ("refuse_versions", "trusted_proxies", "more_engines")


def test_every_setting_can_come_from_every_source(tmp_path: Path) -> None:
    examples = {
        "host": "h",
        "database": "sqlite:////x.db",
        "blobs": "b",
        "engine": "slurm",
        "more_engines": "slurm",
        "slurm_python": "/opt/python3",
        "slurm_folder": "/shared",
        "engine_options": '{"mine": {"port": 7}}',
        "sandbox": "off",
        "sandbox_network": "false",
        "refuse_versions": "far",
        "run_uninstalled": "shell",
        "gpu_missing": "ignore",
        "master_key": SECRET,
        "master_key_file": "/k",
        "public_url": "https://jobs.example.org",
        "trusted_proxies": "10.0.0.0/8",
        "tls_certificate": "/c.pem",
        "tls_key": "/c.key",
        "job_api_url": "http://10.0.0.1:8420",
        "project_required": "true",
        "profile": "faithful",
        "site_name": "s",
    }
    default = load(tmp_path, {}, {})
    for name in Settings.model_fields:
        if name == "data":
            continue
        text = examples.get(name, "7")
        by_environment = settings(tmp_path, environment={PREFIX + name.upper(): text})
        value = f"['{text}']" if name in MANY else f"'{text}'"
        value = text if text in ("7", "false") else value
        value = "{mine = {port = 7}}" if name == "engine_options" else value
        by_file = settings(tmp_path, f"{name} = {value}")
        assert getattr(by_environment, name) == getattr(by_file, name)
        assert getattr(by_file, name) != getattr(default, name), name


def test_the_data_folder_is_the_one_that_was_given(tmp_path: Path) -> None:
    found = settings(tmp_path, environment={"SIMYARD_DATA": "/elsewhere"})
    assert found.data == tmp_path
    (told,) = refusal(tmp_path, "data = '/elsewhere'")
    assert told.startswith(f"{tmp_path / CONFIG_NAME}: data: ")


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path, {}, {}).port = 1  # type: ignore[misc]


# --- what is wrong --------------------------------------------------------------------------------


def test_everything_wrong_is_told_with_its_name_and_its_source(tmp_path: Path) -> None:
    path = tmp_path / CONFIG_NAME
    no_number = "Input should be a valid integer, unable to parse string as an integer"
    told = refusal(
        tmp_path,
        "prot = 1\ncores = 'many'\nport = 1\nsandbox = 'on'",
        environment={"SIMYARD_JOB_UID": "nobody"},
        port=70_000,
    )
    assert sorted(told) == sorted(
        [
            f"{path}: prot: there is no such setting",
            f"{path}: cores: {no_number}",
            f"{path}: sandbox: Input should be 'auto', 'required' or 'off'",
            f"SIMYARD_JOB_UID: job_uid: {no_number}",
            "--port: port: Input should be less than or equal to 65535",
        ]
    )


def test_a_name_is_that_of_the_option(tmp_path: Path) -> None:
    (told,) = refusal(tmp_path, max_upload_bytes=-1)
    assert told.startswith("--max-upload-bytes: max_upload_bytes: ")


@pytest.mark.parametrize(
    "line",
    [
        "port = -1",
        "port = 65536",
        "port = 1.5",
        "port = []",
        "host = 5",
        "host = ''",  # would listen everywhere
        "cores = -1",
        "max_walltime_seconds = 0",
        "stop_grace_seconds = -0.1",
        "stop_grace_seconds = nan",
        "oversubscribe_max = 0",
        "unpack_max_bytes = 0",
        "job_uid = 0",  # runs are not root's
        "engine = 'no engine'",
        "more_engines = ['Not a name']",
        "slurm_python = 'python3'",
        "refuse_versions = 'near'",
        "refuse_versions = ['same']",
        "run_uninstalled = true",
        "gpu_missing = ''",
        "sandbox_network = 'perhaps'",
        "public_url = 'jobs.example.org'",
        "public_url = 'https://jobs.example.org/a?b'",
        "trusted_proxies = '10.0.0.0/8'",
        "trusted_proxies = ['proxy.example.org']",
        "trusted_proxies = ['10.0.0.0/8', '10.0.0.1/8']",
        "profile = 'strict'",
        "master_key_file = 5",
        "[port]\nx = 1",
    ],
)
def test_values_that_do_not_fit(tmp_path: Path, line: str) -> None:
    name = line.strip("[").split(" ")[0].split("]")[0]
    (told,) = refusal(tmp_path, line)
    assert told.startswith(f"{tmp_path / CONFIG_NAME}: {name}: ")


def test_an_empty_host_of_the_environment_is_refused_too(tmp_path: Path) -> None:
    (told,) = refusal(tmp_path, environment={"SIMYARD_HOST": ""})
    assert told.startswith("SIMYARD_HOST: host: ")


@pytest.mark.parametrize("content", [b"port =", b"port = 1\nport = 2", b"\xff\xfe", b"a\0"])
def test_a_file_that_is_no_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / CONFIG_NAME
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, {}, {})
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / CONFIG_NAME).mkdir()
    with pytest.raises(SettingsError, match=r"simyard\.toml: .*directory"):
        load(tmp_path, {}, {})


# --- secrets --------------------------------------------------------------------------------------


def test_the_master_key_is_not_shown(tmp_path: Path) -> None:
    found = settings(tmp_path, environment={"SIMYARD_MASTER_KEY": SECRET})
    assert found.master_key == SECRET
    assert SECRET not in repr(found) and SECRET not in str(found)


def test_a_wrong_setting_does_not_repeat_its_value(tmp_path: Path) -> None:
    """It may be a secret that was put in the wrong place."""
    for toml in (
        f"master_key = ['{SECRET}']",
        f"cores = '{SECRET}'",
        f"engine = '{SECRET}'",
        f"refuse_versions = ['{SECRET}']",
    ):
        assert SECRET not in "".join(refusal(tmp_path, toml))


# --- documentation --------------------------------------------------------------------------------


def test_every_setting_says_what_it_means() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert field.description[0].isupper(), name
