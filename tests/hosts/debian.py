"""The Debian system that test machines boot: made once by debootstrap, then kept outside the repository."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
# What docs/deploy.md asks an operator to install, and what these tests look at a machine with.
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "procps", "curl"),
    *("nginx-light", "python3-venv", "libgl1", "libglib2.0-0"),
)
CACHE_VARIABLE = "FRAMEFLEET_HOSTS_CACHE"
DEFAULT_CACHE = Path("/var/cache/framefleet-hosts")
NEEDED = ("debootstrap", "systemd-nspawn", "setpriv", "unshare", "ssh", "ssh-keygen", "scp", "ip")


def missing() -> str:
    """Why machines cannot be booted here; empty if they can."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [name for name in NEEDED if shutil.which(name) is None]
    return f"needs {', '.join(lacking)}" if lacking else ""


def cache_folder() -> Path:
    return Path(os.environ.get(CACHE_VARIABLE, DEFAULT_CACHE))


def debian_tree(cache: Path) -> Path:
    """The root file system, read-only by agreement; takes a minute the first time."""
    key = hashlib.sha256(f"{SUITE} {MIRROR} {PACKAGES} 1".encode()).hexdigest()[:12]
    tree = cache / f"{SUITE}-{key}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tree.exists():
            _make(cache / "unfinished", tree)
    return tree


def _make(unfinished: Path, tree: Path) -> None:
    shutil.rmtree(unfinished, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(unfinished), MIRROR]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"debootstrap:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    etc = unfinished / "etc"
    (etc / "machine-id").write_text("")  # every machine makes its own
    (etc / "hostname").unlink()
    wants = etc / "systemd/system/multi-user.target.wants"
    (wants / "nginx.service").unlink()  # docs/deploy.md: the fleet runs nginx itself
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    shutil.rmtree(unfinished / "var/cache/apt", ignore_errors=True)
    unfinished.rename(tree)
