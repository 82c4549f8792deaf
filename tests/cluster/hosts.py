"""Machines for `ray up` out of namespaces: a laptop and hosts with sshd, on a network that only they see.

Each has its own processes, network, mounts, host name, `/dev/shm`, `/tmp/ray` and home: `ray stop` on one
ends nothing elsewhere, and what is not shared is not seen. All of them live inside one process: whoever
kills it has cleaned up. It takes root on Linux, `sshd`, `ssh`, `rsync` and `ip`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

__all__ = ["SHARED", "Hosts", "missing_tools"]

SHARED = Path("/mnt/shared")
"""Where every host that has the shared folder sees it."""

LAPTOP = "10.200.0.1"
_TOOLS = ("/usr/sbin/sshd", "ssh", "ssh-keygen", "rsync", "ip", "unshare", "nsenter")
_NAMESPACES = ("--fork", "--kill-child", "--pid", "--mount-proc", "--mount", "--net", "--uts", "--ipc")
_PRIVATE = """
hostname "$NAME"
ip link set lo up
mount -t tmpfs tmpfs /run && mkdir /run/sshd
mount -t tmpfs tmpfs /dev/shm
mkdir -p /tmp/ray && mount --bind "$HOST/ray" /tmp/ray
mount -t tmpfs tmpfs /mnt && mkdir /mnt/shared
mount --bind "$STORE" /mnt/shared
mount --bind "$HOST/passwd" /etc/passwd
"""
_LAPTOP = f"""set -eu
{_PRIVATE}
ip link add br0 type bridge && ip addr add {LAPTOP}/24 dev br0 && ip link set br0 up
ip route add default dev br0
touch "$HOST/up" && sleep infinity & wait
"""
_HOST = f"""set -eu
{_PRIVATE}
until ip link show eth0 > /dev/null 2>&1; do sleep 0.05; done
ip addr add "$IP/24" dev eth0 && ip link set eth0 up && ip route add default via {LAPTOP}
exec /usr/sbin/sshd -D -e -f "$KEYS/sshd_config"
"""
_PLUG = """set -eu
"$@" & pid=$!
echo "$pid" > "$HOST/pid"
while [ "$(readlink /proc/$pid/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add "$NAME" type veth peer name eth0 netns "$pid"
ip link set "$NAME" master br0 up
wait "$pid"
"""


def missing_tools() -> str:
    """Why no hosts can be made here; empty where they can."""
    missing = [Path(tool).name for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not installed (apt-get install openssh-server rsync iproute2)"
    if os.geteuid() != 0:
        return "namespaces take root"
    probe = subprocess.run(["unshare", *_NAMESPACES, "mount", "-t", "tmpfs", "t", "/mnt"], capture_output=True)
    return "" if probe.returncode == 0 else f"no namespaces here: {probe.stderr.decode().strip()}"


class Hosts:
    """A laptop, at first without hosts.

    Args:
        folder: of all their files; short, as sockets are made below it.
        rc: what every `~/.bashrc` holds.
    """

    def __init__(self, folder: Path, rc: str) -> None:
        self.folder = folder
        self.shared = folder / "shared"
        self._rc = rc
        self._hosts: dict[str, subprocess.Popen[bytes]] = {}
        self.shared.mkdir(parents=True)
        self._make_keys()
        self._laptop = self._spawn(["unshare", *_NAMESPACES, "bash", "-c", _LAPTOP], self._env("laptop", LAPTOP))
        self._wait_for(self.folder / "laptop" / "up")

    def add(self, name: str, ip: str, *, shares: bool = True) -> None:
        """Switch on a host of that name; one that was killed comes back with what was on its disk.

        Args:
            shares: whether it sees the shared folder, or one of its own in its place.
        """
        env = self._env(name, ip, shares=shares)
        inner = ["unshare", *_NAMESPACES, "bash", "-c", _HOST]
        self._hosts[name] = self._spawn([*self._enter(), "bash", "-c", _PLUG, "plug", *inner], env)
        deadline = time.monotonic() + 20
        while self.run(f"ssh {ip} true", check=False).returncode != 0:
            if time.monotonic() > deadline:
                log = (self.folder / name / "log").read_text()
                raise TimeoutError(f"no sshd on {name}: {log}")
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """Cut the power of a host."""
        self.run(f"kill -KILL {(self.folder / name / 'pid').read_text()}")
        self._hosts.pop(name).wait(20)

    def cut(self, name: str, *, back: bool = False) -> None:
        """Pull the network cable of a host, or plug it in again."""
        self.run(f"ip link set {name} {'up' if back else 'down'}")

    def run(
        self, command: str, *, check: bool = True, timeout_s: float = 240, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the laptop."""
        done = subprocess.run(
            [*self._enter(), "bash", "-c", command],
            env={**self._env("laptop", LAPTOP), **env},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, command: str) -> subprocess.Popen[str]:
        """Begin a command on the laptop, in a pipe for both of its streams."""
        return subprocess.Popen(
            [*self._enter(), "bash", "-c", command],
            env=self._env("laptop", LAPTOP),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def close(self) -> None:
        """End every process of all of them."""
        for process in [*self._hosts.values(), self._laptop]:
            process.kill()
            process.wait()

    def _make_keys(self) -> None:
        keys = self.folder / "keys"
        keys.mkdir(mode=0o700)
        for key in ("id", "host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / key)], check=True)
        (keys / "sshd_config").write_text(
            f"HostKey {keys}/host\nAuthorizedKeysFile {keys}/id.pub\nPermitRootLogin prohibit-password\n"
            "PasswordAuthentication no\nStrictModes no\nUsePAM no\nMaxSessions 100\nMaxStartups 100\n"
        )

    @property
    def key(self) -> Path:
        """What opens SSH on every host."""
        return self.folder / "keys" / "id"

    def home(self, name: str) -> Path:
        return self.folder / name / "home"

    def _env(self, name: str, ip: str, *, shares: bool = True) -> dict[str, str]:
        """The new disk of a machine, and how its scripts find it."""
        folder = self.folder / name
        if not folder.exists():
            for part in ("home/.ssh", "ray", "own"):
                (folder / part).mkdir(parents=True)
            (folder / "passwd").write_text(f"root:x:0:0:root:{folder}/home:/bin/bash\nsshd:x:101:65534::/run/sshd:\n")
            (folder / "home" / ".bashrc").write_text(self._rc)
            (folder / "home" / ".bash_profile").write_text(". ~/.bashrc\n")
            ssh = f"IdentityFile {self.key}\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
            (folder / "home" / ".ssh" / "config").write_text(ssh)
        return {
            "NAME": name,
            "IP": ip,
            "HOST": str(folder),
            "STORE": str(self.shared if shares else folder / "own"),
            "KEYS": str(self.folder / "keys"),
            "HOME": str(folder / "home"),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "USER": "root",
        }

    def _spawn(self, command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (Path(env["HOST"]) / "log").open("wb") as log:
            return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _enter(self) -> list[str]:
        pid = self._laptop.pid
        child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        return ["nsenter", "--target", child, "--all", f"--wd={self.folder}"]

    def _wait_for(self, file: Path) -> None:
        deadline = time.monotonic() + 10
        while not file.exists():
            if self._laptop.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((file.parent / "log").read_text())
            time.sleep(0.02)
