"""Whole Debian machines for a test, booted with systemd: own file system, network address and processes.

Each is a systemd-nspawn container over an overlay of one Debian tree, on a bridge that leads nowhere else. Nothing
outlives the process that started it: the mounts are in a namespace of their own, the network ends with the machine,
and machines are killed with their parent.
"""

import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.hosts.cgroups import make_groups, members, remove_groups

COMMAND_LIMIT_S = 300
BOOT_LIMIT_S = 180
STOP_LIMIT_S = 180
SSH_OPTIONS = (
    *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"),
    *("-o", "ConnectTimeout=5", "-o", "BatchMode=yes"),
)
NETWORK = """[Match]
Name=host0

[Network]
Address={address}/24
LinkLocalAddressing=no
"""
REBOOT_CODE = 133  # of systemd-nspawn, when the machine asks to be booted again
# A process namespace for each: a machine's processes would outlive systemd-nspawn when that is killed.
PRIVATE = (
    *("setpriv", "--pdeathsig", "KILL"),
    *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
)
# Joins its control groups and mounts its disk, then becomes the machine; "$@" is systemd-nspawn's command.
LAUNCH = """set -e
for group in $GROUPS_TO_JOIN; do echo 0 >"$group/cgroup.procs"; done
mount -t overlay overlay -o "$LAYERS" "$ROOT"
exec "$@"
"""


class Machine:
    """One machine. Its disk outlives a reboot and a power cut.

    Attributes:
        name: its host name.
        container: what this machine calls it: its control groups, its end of the network.
        address: its IPv4 address, on the bridge.
        disk: what it has written, as files over the layers below.
        console: what it printed while it booted.
    """

    def __init__(
        self, name: str, *, address: str, folder: Path, layers: tuple[Path, ...], bridge: str, key: Path
    ) -> None:
        """Prepares a machine that is switched off.

        Args:
            name: its host name.
            address: its IPv4 address.
            folder: where its disk is kept.
            layers: file systems below its disk, the uppermost first.
            bridge: network device on this machine that it is plugged into.
            key: ssh key that opens it; the public half is beside it.
        """
        self.name, self.address, self.layers = name, address, layers
        self.container = f"{bridge}-{address.rpartition('.')[2]}"
        self.disk, self.console = folder / "disk", folder / "console.log"
        self._folder, self._bridge, self._key = folder, bridge, key
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: tuple[Path, ...] = ()
        for part in ("disk", "work", "root"):
            (folder / part).mkdir(parents=True)
        self._write("etc/systemd/network/10-host0.network", NETWORK.format(address=address))
        self._write("root/.ssh/authorized_keys", key.with_suffix(".pub").read_text())
        (self.disk / "root/.ssh").chmod(0o700)
        (self.disk / "root").chmod(0o700)

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def boot(self) -> None:
        """Switches it on, and waits until systemd has started everything."""
        self.switch_on()
        self.wait_until_up()

    def switch_on(self) -> None:
        """Switches it on without waiting. Call it from the main thread: a machine dies with the thread it is of."""
        assert not self.runs, f"{self.name} runs already"
        self._groups = make_groups(self.container)
        layers = ":".join(str(layer) for layer in self.layers)
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "GROUPS_TO_JOIN": " ".join(str(group) for group in self._groups),
            # redirect_dir: folders from below can be renamed, as on any disk.
            "LAYERS": f"redirect_dir=on,lowerdir={layers},upperdir={self.disk},workdir={self._folder / 'work'}",
            "ROOT": str(self._folder / "root"),
        }
        with self.console.open("ab") as console:
            self._process = subprocess.Popen(
                [*PRIVATE, "sh", "-c", LAUNCH, "machine", *self._nspawn()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_up(self) -> None:
        """Waits until systemd is done starting; fails the test if a unit failed."""
        self.wait_for("boot", self._lets_in, BOOT_LIMIT_S)
        state = self.run("systemctl is-system-running --wait; systemctl --failed --no-legend --plain").stdout
        assert state.strip() == "running", f"{self.name}: {state}"

    def ssh(self, command: str, limit_s: float = COMMAND_LIMIT_S) -> str:
        """Runs a shell command on it as root; what it printed. Fails the test unless it ends well."""
        done = self.run(command, limit_s)
        assert done.returncode == 0, f"{self.name}: {command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, command: str, limit_s: float = COMMAND_LIMIT_S) -> "subprocess.CompletedProcess[str]":
        """Runs a shell command on it as root, however it ends."""
        return subprocess.run(self.command(command), capture_output=True, text=True, timeout=limit_s, check=False)

    def command(self, command: str) -> list[str]:
        """What to start here to run a shell command there."""
        return ["ssh", *SSH_OPTIONS, "-i", str(self._key), f"root@{self.address}", command]

    def push(self, local: Path, remote: str) -> None:
        """Copies a file or a folder onto it."""
        target = f"root@{self.address}:{remote}"
        command = ["scp", "-q", "-r", *SSH_OPTIONS, "-i", str(self._key), str(local), target]
        subprocess.run(command, check=True, timeout=COMMAND_LIMIT_S)

    def write(self, remote: str, text: str) -> None:
        """Writes a text file on it, while it runs."""
        folder, path = shlex.quote(str(Path(remote).parent)), shlex.quote(remote)
        command = self.command(f"mkdir -p {folder} && cat > {path}")
        subprocess.run(command, input=text, text=True, check=True, timeout=COMMAND_LIMIT_S)

    def reboot(self) -> None:
        """`systemctl reboot`, and waits until it is up again."""
        assert self._process
        self.run("systemctl reboot")
        assert self._process.wait(STOP_LIMIT_S) == REBOOT_CODE, self._last_words()
        self.power_cut()
        self.boot()

    def power_off(self) -> None:
        """`systemctl poweroff`, and waits until it is off."""
        self.run("systemctl poweroff")
        if self._process:
            self._process.wait(STOP_LIMIT_S)
        self.power_cut()

    def power_cut(self) -> None:
        """Ends every process of it at once; what was written to its disk stays."""
        if not self._process:
            return
        if self.runs:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_LIMIT_S)
        self.wait_for("power cut", lambda: not members(self._groups), STOP_LIMIT_S)
        # Its network outlives its last process by a moment, and a machine that boots meanwhile finds the name taken.
        self.wait_for("unplugging", lambda: not self._plugged_in(), STOP_LIMIT_S)
        remove_groups(self._groups)
        shutil.rmtree(f"/run/systemd/nspawn/propagate/{self.container}", ignore_errors=True)
        self._process = None

    def remove(self) -> None:
        """Cuts its power and throws its disk away."""
        self.power_cut()
        shutil.rmtree(self._folder)

    def wait_for(self, what: str, holds: Callable[[], bool], limit_s: float) -> None:
        """Polls until something holds; fails the test if it does not within the limit."""
        deadline = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < deadline, f"{self.name}: no {what} within {limit_s:g} s\n{self._last_words()}"
            time.sleep(0.1)

    def _lets_in(self) -> bool:
        try:
            return self.run("true", limit_s=30).returncode == 0
        except subprocess.TimeoutExpired:  # its login waits for services that are still starting
            return False

    def _plugged_in(self) -> bool:
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        return re.search(rf"\b{self.container}\b", links) is not None

    def _nspawn(self) -> tuple[str, ...]:
        return (
            *("systemd-nspawn", "--quiet", "--boot", f"--directory={self._folder / 'root'}"),
            *(f"--machine={self.container}", f"--hostname={self.name}", f"--network-bridge={self._bridge}"),
            *("--register=no", "--keep-unit", "--link-journal=no", "--resolv-conf=off", "--timezone=off"),
            "--console=pipe",
        )

    def _write(self, path: str, text: str) -> None:
        target = self.disk / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def _last_words(self) -> str:
        return self.console.read_text(errors="replace")[-2000:] if self.console.exists() else ""
