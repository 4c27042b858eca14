"""Push, clone, pull and reproduce against remotes that are really there: a folder, an SSH server, an S3 server."""

import getpass
import importlib.util
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from tests.pipeline.remotes import (
    ROOT,
    check_an_experiment_travels,
    check_reproduces_from_the_cache,
    check_tells_nothing,
    free_port,
    make_repository,
    run,
    serve,
    there_and_back,
)

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
MOTO = shutil.which("moto_server")
SECRET = re.compile(r"password|secret|token|access_key|BEGIN [A-Z ]*PRIVATE|AKIA[0-9A-Z]{16}|://[^/\s]*:[^/\s]*@", re.I)
"""What credentials look like, or are called."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("finished") / "origin")


@pytest.fixture
def origin(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "origin", symlinks=True)


def test_a_folder_serves_as_a_remote(origin: Path, tmp_path: Path) -> None:
    clone = there_and_back(origin, str(tmp_path / "remote"), {}, {})
    check_reproduces_from_the_cache(origin, clone)
    check_an_experiment_travels(origin, {})


@pytest.mark.parametrize(
    "lock", sorted(ROOT.glob("dvc.lock")) + sorted(ROOT.glob("pipelines/*/dvc.lock")), ids=lambda path: path.parent.name
)
def test_a_lock_holds_no_absolute_path_and_no_secret(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert not SECRET.search(text)
    entries = [entry for stage in yaml.safe_load(text)["stages"].values() for entry in stage["deps"] + stage["outs"]]
    assert entries
    for path in (Path(entry["path"]) for entry in entries):
        assert not path.is_absolute()
        assert lock.parent.joinpath(path).resolve().is_relative_to(ROOT)
    assert not re.search(r"(?<![\w.])/(home|root|Users|tmp|mnt|work)/", text)


def test_what_looks_like_a_secret_is_found() -> None:
    for text in ("password: x", "secret_access_key = 1", "s3://me:pw@host/x", "-----BEGIN OPENSSH PRIVATE KEY-----"):
        assert SECRET.search(text)


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """An SSH server on loopback that lets this user in by a key of the test's own; its port, and the key."""
    if SSHD is None or importlib.util.find_spec("dvc_ssh") is None:
        pytest.skip("needs sshd (Debian's openssh-server) and dvc-ssh (the extra `remotes`)")
    Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, run by root, keeps its unprivileged half
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    shutil.copy(tmp_path / "user.pub", tmp_path / "authorized_keys")
    port, options = free_port(), tmp_path / "sshd_config"
    lines = ("ListenAddress 127.0.0.1", f"Port {port}", f"HostKey {tmp_path}/host", "StrictModes no", "UsePAM no")
    more = (f"AuthorizedKeysFile {tmp_path}/authorized_keys", "PidFile none", "PasswordAuthentication no")
    options.write_text("\n".join([*lines, *more, "PermitRootLogin yes", "Subsystem sftp internal-sftp\n"]))
    with serve([SSHD, "-D", "-e", "-f", str(options)], port):
        yield port, tmp_path / "user"


@pytest.mark.slow
def test_an_ssh_server_serves_as_a_remote(origin: Path, ssh: tuple[int, Path], tmp_path: Path) -> None:
    port, key = ssh
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}{tmp_path}/remote"
    clone = there_and_back(origin, url, {}, {"keyfile": str(key)})
    assert len(list((tmp_path / "remote" / "files" / "md5").glob("*/*"))) > 5
    assert "Everything is up to date" in run(origin, "dvc", "push", "dvc.yaml")
    check_tells_nothing(clone, {"keyfile": str(key)})
    check_reproduces_from_the_cache(origin, clone)
    check_an_experiment_travels(origin, {"keyfile": str(key)})


@pytest.mark.slow
def test_an_ssh_server_lets_no_one_in_without_the_key(origin: Path, ssh: tuple[int, Path], tmp_path: Path) -> None:
    stranger = Path(shutil.copy(tmp_path / "host", tmp_path / "stranger"))
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{ssh[0]}{tmp_path}/remote"
    with pytest.raises(AssertionError, match="Permission denied"):
        there_and_back(origin, url, {}, {"keyfile": str(stranger)})
    assert not (tmp_path / "remote").exists()


@pytest.fixture
def s3() -> Iterator[str]:
    """The address of a server that speaks S3, with a bucket."""
    if MOTO is None or importlib.util.find_spec("dvc_s3") is None:
        pytest.skip("needs moto_server on the path (`moto[server]`, in an environment of its own) and dvc-s3")
    port = free_port()
    with serve([MOTO, "-H", "127.0.0.1", "-p", str(port)], port):
        assert requests.put(f"http://127.0.0.1:{port}/bucket", timeout=60).ok
        yield f"http://127.0.0.1:{port}"


@pytest.mark.slow
def test_an_s3_server_serves_as_a_remote(origin: Path, s3: str) -> None:
    keys = {"access_key_id": secrets.token_hex(10), "secret_access_key": secrets.token_hex(20)}
    clone = there_and_back(origin, "s3://bucket/dmd", {"endpointurl": s3, "region": "us-east-1"}, keys)
    assert requests.get(f"{s3}/bucket?list-type=2&prefix=dmd/files/md5", timeout=60).text.count("<Key>") > 5
    assert "Everything is up to date" in run(origin, "dvc", "push", "dvc.yaml")
    check_tells_nothing(clone, keys)
    check_reproduces_from_the_cache(origin, clone)
    check_an_experiment_travels(origin, keys)
