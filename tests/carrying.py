"""What tests of sync and medium share: readers of a destination, real volumes, real servers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests import forking


def read_as_client(dest: Path) -> bool:
    """Whether a channel stands at ``dest``; fails when it names a package that is not there."""
    found = False
    for repodata in dest.glob("*/repodata.json"):
        found = True
        document = json.loads(repodata.read_bytes())
        for section in ("packages", "packages.conda"):
            for fn, row in document.get(section, {}).items():
                data = (repodata.parent / fn).read_bytes()
                assert hashlib.sha256(data).hexdigest() == row["sha256"], fn
    return found


def content(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@contextlib.contextmanager
def volume_of(kind: str, folder: Path, size: str = "64M"):
    """A real volume of ``kind``, mounted through FUSE; the test is skipped where that cannot be."""
    programs = {"exfat": ("mkfs.exfat", "mount.exfat-fuse"), "fat32": ("mkfs.vfat", "fusefat")}[
        kind
    ]
    make, mount = (shutil.which(one, path=f"{os.environ['PATH']}:/usr/sbin") for one in programs)
    if not make or not mount or not os.access("/dev/fuse", os.W_OK) or os.geteuid() != 0:
        pytest.skip(
            f"{kind} cannot be mounted here: needs root, /dev/fuse, {' and '.join(programs)}"
        )
    image, point = folder / f"{kind}.img", folder / f"{kind} volume"
    point.mkdir()
    subprocess.run(["truncate", "-s", size, image], check=True)
    subprocess.run(
        [make, *(("-F", "32") if kind == "fat32" else ()), image], check=True, capture_output=True
    )
    loop = None
    if kind == "exfat":
        done = subprocess.run(
            ["losetup", "-f", "--show", image], check=False, capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"no loop device here: {done.stderr.strip()}")
        loop = done.stdout.strip()
        command = [mount, loop, point]
    else:
        command = [mount, "-o", "rw+", image, point]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"{kind} cannot be mounted here: {done.stderr.strip()}")
        yield point
    finally:
        subprocess.run(["umount", point], check=False, capture_output=True)
        if loop:
            subprocess.run(["losetup", "-d", loop], check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    pytest.fail("the server does not answer")


@contextlib.contextmanager
def serving(command: list, port: int):
    """A server as a child of the test, ended with it."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as server:
        try:
            wait_for(port)
            yield server
        finally:
            # those that serve a connection, too, so that it is cut
            os.killpg(server.pid, signal.SIGKILL)


@contextlib.contextmanager
def rsync_daemon(folder: Path, root: Path):
    """An rsync daemon that serves ``root``; yields the URL of its module."""
    if not shutil.which("rsync"):
        pytest.skip("no rsync here")
    port = free_port()
    (folder / "secrets").write_text("vendor:s3cret\n")
    (folder / "secrets").chmod(0o600)
    config = folder / "rsyncd.conf"
    config.write_text(
        f"uid = {os.getuid()}\ngid = {os.getgid()}\nuse chroot = no\npid file = {folder}/rsyncd.pid\nlog file = {folder}/rsyncd.log\n"
        f"[share]\npath = {root}\nread only = no\n"
        f"[locked]\npath = {root}\nread only = no\nauth users = vendor\n"
        f"secrets file = {folder}/secrets\n"
    )
    command = ["rsync", "--daemon", "--no-detach", f"--port={port}", f"--config={config}"]
    with serving([*command, "--address=127.0.0.1"], port):
        yield f"rsync://127.0.0.1:{port}"


@contextlib.contextmanager
def ssh_server(folder: Path):
    """An sshd for this user; yields its port, and the ssh command that is let in."""
    sshd = shutil.which("sshd", path="/usr/sbin:/sbin:/usr/bin")
    if not sshd or not all(shutil.which(name) for name in ("ssh", "ssh-keygen", "rsync")):
        pytest.skip("needs sshd, ssh and rsync")
    if os.geteuid() == 0:  # sshd, run by root, wants it for its separation
        Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    keys = folder / "authorized_keys"
    keys.write_bytes((folder / "user.pub").read_bytes())
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {keys}\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nPidFile none\n"
    )
    shell = f"ssh -i {folder}/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    with serving([sshd, "-D", "-e", "-f", config], port):
        if os.geteuid() != 0:
            # An account without a shell or a password is kept out; root never is.
            login = [*shlex.split(shell), "-p", str(port), "127.0.0.1", "true"]
            if subprocess.run(login, check=False, capture_output=True).returncode != 0:
                pytest.skip("sshd lets this user's account not in")
        yield port, shell


def killed_after(seconds: float, work) -> bool:
    """Run ``work`` in a child that is killed after a time; True when it was killed by that."""
    child = forking.start(lambda: work() and 0)
    deadline = time.monotonic() + seconds
    ended, status = 0, 0
    while not ended and time.monotonic() < deadline:
        time.sleep(0.0002)
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in {0, -signal.SIGKILL}, "it failed by itself"
    return os.WIFSIGNALED(status)
