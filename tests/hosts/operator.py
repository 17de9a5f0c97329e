"""What a person does on a host, as the runbook in docs/deploy.md has it."""

import json
import subprocess
from pathlib import Path

import requests

from tests.e2e.fleet import direct_session, wait_until
from tests.hosts.bundles import ROOT, release_of
from tests.hosts.machines import Machine

KIT = "/root/kit"
PROGRAM = "/opt/framefleet/current/bin/framefleet"
READY_LIMIT_S = 120
DEPLOY_LIMIT_S = 300

ONE_HOST = """
[model]
file = "simulated:a_ms=5,b_ms=1"
[settings]
threads = 1
[[hosts]]
name = "h1"
cpu = 2
# One instance more must not change the others' CPUs.
cpus_per_instance = 0
"""


# A process id may be given twice; with its start, in ticks since boot, it is not.
LIST_PROGRAMS = """
started() { awk '{print $22}' "/proc/$1/stat"; }
for pid in $(pgrep -P "$(systemctl show -P MainPID framefleet)"); do
    name=$(tr '\\0' '\\n' <"/proc/$pid/environ" | sed -n 's/^FRAMEFLEET_INSTANCE=//p')
    workers=
    if [ "$(cat "/proc/$pid/comm")" = nginx ]; then workers=$(pgrep -P "$pid" | tr '\\n' ' '); fi
    echo "${name:-$(cat "/proc/$pid/comm")} $pid $(started "$pid") $workers"
done
"""


class Operator:
    """Somebody at a machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @property
    def url(self) -> str:
        return f"http://{self.machine.address}"

    def carry(self, bundle: Path) -> None:
        """Brings a bundle, and the script that unpacks it, as on a USB stick."""
        self.machine.ssh(f"mkdir -p {KIT}")
        self.machine.push(bundle, KIT)
        self.machine.push(ROOT / "tools" / "deploy.sh", KIT)

    def deploying(self, bundle: Path, *options: str) -> str:
        """The command that deploys a bundle that was carried here."""
        return " ".join(("sh", f"{KIT}/deploy.sh", f"{KIT}/{bundle.name}", *options))

    def deploy(self, bundle: Path, *options: str) -> "subprocess.CompletedProcess[str]":
        """Deploys a bundle that was carried here, however that ends."""
        return self.machine.run(self.deploying(bundle, *options), DEPLOY_LIMIT_S)

    def build(self, bundle: Path) -> None:
        """Builds a bundle's release, and no more: the deploy itself ends at a host that nobody knows."""
        self.carry(bundle)
        done = self.deploy(bundle, "--host", "nobody")
        assert "host nobody: not in the inventory" in done.stderr, done.stdout + done.stderr

    def framefleet(self, verb: str) -> "subprocess.CompletedProcess[str]":
        """Runs a verb of the host's command line, however that ends."""
        return self.machine.run(f"{PROGRAM} {verb}", DEPLOY_LIMIT_S)

    def programs(self) -> dict[str, str]:
        """Every process that supervisord started, by instance or program: its pid and when it was started.

        nginx's are those of its workers too, which change when it reloads.
        """
        found = dict(line.split(maxsplit=1) for line in self.machine.ssh(LIST_PROGRAMS).splitlines())
        assert found, "supervisord runs nothing"
        return found

    def release(self) -> str:
        """The release id that nginx passes on; empty if there is no answer."""
        with direct_session() as session:
            try:
                answer = session.get(f"{self.url}/readyz", timeout=5)
                return str(answer.json()["release"]) if answer.ok else ""
            except (requests.RequestException, json.JSONDecodeError, KeyError):
                return ""

    def wait_until_serving(self, *bundles: Path) -> None:
        """Waits until the release of one of these bundles answers through nginx."""
        releases = [release_of(bundle) for bundle in bundles]
        wait_until(f"one of {releases} serves", lambda: self.release() in releases, READY_LIMIT_S)
