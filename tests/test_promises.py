"""Figures in the documents are those of the code: each sentence here is made from what the code does."""

import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from bench import tune
from deploy.allowance import GENEROUS
from deploy.describe.limits import ServiceLimits
from deploy.guard.reload import WIND_DOWN_S
from deploy.guard.reviver import Delays
from deploy.rollout.host_setup import KEPT_RELEASES
from deploy.rollout.preflight import FREE_BYTES
from framefleet.client import __main__ as client
from loadtest import options
from loadtest.capacity import crossing, gate, row, sweep
from loadtest.frames import spool
from loadtest.measure import summary
from loadtest.measure.samples import HEADER
from loadtest.plan import agreement, records, typed
from service import keys
from service.admission import visit
from service.pictures import form, jpeg, jpeg_pixels, json_depth, png, webp
from service.pipeline import detector
from service.safeguards import in_work, memory, quarantine, watchdog
from service.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
NGINX = "\n".join(path.read_text() for path in (ROOT / "deploy/nginx").rglob("*.j2"))
SUPERVISOR = (ROOT / "deploy/supervisor/instance.conf.j2").read_text()
PROFILES = {path.stem: tomllib.loads(path.read_text()) for path in (ROOT / "loadtest/profiles").glob("*.toml")}
GUNICORN = "\n".join(
    (ROOT / "service" / name).read_text() for name in ("server/gunicorn.conf.py", "server/worker.py", "wsgi.py")
)
MAKEFILE = (ROOT / "Makefile").read_text()
DEFAULT = Settings()


def nginx(directive: str) -> str:
    """A time that nginx is told, everywhere the same, without its unit."""
    (value,) = set(re.findall(rf"\b{directive}[ =](\d+)m?s\b", NGINX))
    return str(value)


def supervisor(name: str) -> str:
    return re.findall(rf"^{name}=(\d+)$", SUPERVISOR, re.MULTILINE)[0]


def exit_code(name: str) -> str:
    return re.findall(rf"^EXIT_{name} = (\d+)", GUNICORN, re.MULTILINE)[0]


def condition(profile: str, name: str) -> float:
    """What a scenario's figure is held against."""
    (text,) = (text for text in PROFILES[profile]["pass"] if text.startswith(f"{name} "))
    return float(text.split()[-1])


def per_cent(share: float) -> str:
    return f"{share * 100:g} %"


SECURITY = {
    "heads": f"| a head | nginx | {nginx('client_header_timeout')} s, 32 kB |",
    "bodies": f"| {nginx('client_body_timeout')} s without a byte",
    "readers": f"does not read its answer | nginx | {nginx('send_timeout')} s |",
    "forms": f"{form.MAX_FORM_PARTS} parts, {form.MAX_FIELD_BYTES:,} bytes a field, "
    f"{form.MAX_PART_HEAD_BYTES} a part's head",
    "JSON": f"| {json_depth.MAX_JSON_DEPTH} levels |",
    "JPEG": f"{jpeg.MAX_JPEG_SCANS} scans ({jpeg_pixels.SCANS_OF_LARGEST} of a picture of `FRAMEFLEET_MAX_PIXELS`, "
    f"more of smaller ones), {jpeg.MAX_JPEG_SEGMENTS:,} segments and {jpeg.MAX_TABLE_BYTES // 2**20} MiB of tables of "
    "a JPEG",
    "boundaries": f"a boundary that stands over {form.MAX_FALSE_BOUNDARIES} times where no part ends",
    "spare bytes of bodies": f"_MAX_BODY_BYTES`, and {visit.SPARE_BODY_BYTES // 2**20} MiB for clients that hold "
    f"at most {visit.SPARE_BODY_BYTES * 3 // 4 // 2**20} |",
    "spare bytes of pixels": f"a largest body, and {visit.SPARE_PIXEL_BYTES // 2**20} MiB for clients that hold "
    f"at most {visit.SPARE_PIXEL_BYTES * 3 // 4 // 2**20} |",
    "small pictures": f"without one small pictures of {2 * visit.SMALL_BYTES // 2**20} MiB at once",
    "PNG and WebP": f"{png.MAX_PNG_CHUNKS:,} chunks of a PNG or a WebP",
    "burst": f"may come at once | any number; {GENEROUS.burst} |",
    "connections": f"from the end of their head on | {GENEROUS.connections} |",
}
ARCHITECTURE = {
    "threads": "(`queue_size`, a quarter more, and four)",
    "worker killed": f"master ends with {exit_code('WORKER_DIED')}, supervisor starts both again",
    "model file": f"exit {exit_code('FAILED_TO_BOOT')}, supervisor retries {supervisor('startretries')} times, "
    "then FATAL",
    "port": f"| one line in the log, exit {exit_code('NO_PORT')}, supervisor retries |",
    "settings": f"| one line in the log, exit {exit_code('BAD_SETTINGS')}, supervisor retries |",
    "engine": f"the process ends with {detector.EXIT_ENGINE_FAULT}; supervisor starts it again",
    "hang": f"all stacks in the log, exit {watchdog.EXIT_HANG}",
    "memory": f"it drains, exit {memory.EXIT_MEMORY}",
    "quarantine": f"422 `quarantined` after {quarantine.DEATHS} deaths,",
    "suspects": f"keep others waiting {per_cent(in_work.KEPT_SHARE)} of the time at most",
    "slow clients": f"cut off where a head takes {nginx('client_header_timeout')} s, or a body rests for "
    f"{nginx('client_body_timeout')} s",
    "reload": f"for {WIND_DOWN_S:g} s before it every answer ends its connection",
    "reviver": f"started again after {Delays().first_delay_s:g} s and longer",
    "host gone": f"after {int(nginx('proxy_connect_timeout')) / 1000:g} s | "
    f"left alone for {nginx('fail_timeout')} s at a time",
}
OPERATE = {
    "bodies": f"`max_body_bytes` ({ServiceLimits({}).max_body_bytes >> 20} MiB)",
    "room": f"A deploy wants {FREE_BYTES >> 20} MB free",
    "log": f"every {DEFAULT.log_every}th other one",
}
DEPLOY = {
    "settling": f"supervisor counts it as running after {supervisor('startsecs')} s",
    "host dies": f"leaves the dead one alone for {nginx('fail_timeout')} s at a time",
}
GPU_HOST = {
    "hang": f"after `FRAMEFLEET_WATCHDOG_S`, {DEFAULT.watchdog_s:g} s, with {watchdog.EXIT_HANG}",
    "boot": f"it ends with {exit_code('FAILED_TO_BOOT')} before it listens",
    "tries": f"after {supervisor('startretries')} tries it is FATAL",
    "delays": f"then every {Delays().last_delay_s / 60:g} minutes",
}
LOAD = {
    "lateness": f"99th percentile over {summary.LATENESS_P99_LIMIT_MS:g} ms or "
    f"{per_cent(summary.LATENESS_P99_LIMIT_SLO)} of the SLO",
    "CPU": f"it used over {per_cent(summary.GENERATOR_CPU_LIMIT)} of a core",
    "samples": f"Raw samples are {len(HEADER)} bytes each",
    "memory": f"of the frames {spool.HELD_BYTES >> 20} MiB are held in memory",
    "cameras": f"at most {per_cent(condition('cameras', 'late_or_never'))} late, dropped or refused",
    "server": f"that rate is verified {PROFILES['server']['plan']['runs']} times",
    "single": f"| p95 within {condition('single', 'p95_ms'):g} ms",
    "soak": f"grows by over {condition('soak', 'memory_growth_mib'):g} MiB or "
    f"{condition('soak', 'descriptor_growth'):g} descriptors",
    "overload": f"stays over {per_cent(condition('overload', 'throughput_kept'))} of it, all is well within "
    f"{condition('overload', 'recovery_s'):g} s",
    "chaos": f"| {per_cent(PROFILES['chaos']['plan']['share'])} while an instance is killed every "
    f"{PROFILES['chaos']['plan']['every_s']} s | none failed or changed, at most "
    f"{per_cent(condition('chaos', 'shed_share'))} shed |",
    "most": f"at most {options.MOST_FPS:,} frames/s, {options.MOST_FRAMES // 10**6} million frames and 30 days",
}
CAPACITY = {
    "holds": f"A rate **holds** if {per_cent(row.IN_TIME_WANTED)} of all frames that fell due were in time",
    "overload": f"12 s of {per_cent(sweep.OVERLOAD)} of what holds, then 12 s of {per_cent(sweep.RECOVERY)}",
    "redraws": f"from {crossing.REPLICATES} redraws",
    "lowered": f"one miss lowers the rate by {per_cent(round(1 - sweep.LOWERED, 3))}",
    "target": f"Nothing is used beyond {per_cent(records.TARGET)} of its capacity",
    "batch": f"and `--max-batch` ({typed.MAX_BATCH})",
    "assumed": f"without one {typed.REQUEST_BYTES / 1e3:g} kB and {typed.AROUND_MS:g} ms are assumed",
    "agrees": f"by more than {per_cent(agreement.DIFFERS_BEYOND)} and {agreement.DIFFERS_BEYOND_MS:g} ms",
    "tune": f"the fewest instances within {per_cent(round(1 - tune.AS_GOOD, 3))} of the",
    "gate": f"the loss is over {per_cent(gate.LOSS_ALLOWED)}",
}
CLIENT = {
    "failed": f"| {client.EXIT_FAILED} | the service or an output failed |",
    "usage": f"| {client.EXIT_USAGE} | wrong arguments",
    "incomplete": f"| {client.EXIT_INCOMPLETE} | part of the source",
    "interrupted": f"| {client.EXIT_INTERRUPTED} | interrupted",
}
README = {
    "slow clients": f"a head takes over {nginx('client_header_timeout')} s, or a body rests for "
    f"{nginx('client_body_timeout')} s, the client is cut off",
    "incomplete": f"fails (exit code {client.EXIT_INCOMPLETE}) where part of the video could not be read",
}
SAID = {
    "ARCHITECTURE.md": ARCHITECTURE,
    "docs/security.md": SECURITY,
    "docs/operate.md": OPERATE,
    "docs/deploy.md": DEPLOY,
    "docs/gpu-host.md": GPU_HOST,
    "docs/load-tests.md": LOAD,
    "docs/capacity.md": CAPACITY,
    "docs/client.md": CLIENT,
    "README.md": README,
}


@pytest.mark.parametrize("document", SAID)
def test_figures_are_those_of_the_code(document: str) -> None:
    text = " ".join((ROOT / document).read_text().split())
    assert {about: words for about, words in SAID[document].items() if words not in text} == {}


def test_words_for_figures_are_those_of_the_code() -> None:
    """An hour, a second, three."""
    assert (DEFAULT.quarantine_s, keys.CHECK_EVERY_S, KEPT_RELEASES, webp.MAX_WEBP_CHUNKS) == (
        3600,
        1,
        3,
        png.MAX_PNG_CHUNKS,
    )


def test_the_menu_gives_the_makefiles_defaults() -> None:
    defaults = dict(re.findall(r"^([A-Z_]+) \?= ([\w.]+)$", MAKEFILE, re.MULTILINE))
    menu = " ".join(re.findall(r"^[a-z-]+:.*?## (.*)$", MAKEFILE, re.MULTILINE))
    told = {name: value for name, value in re.findall(r"\b([A-Z_]+)=(\w+)", menu) if name in defaults}
    assert told.keys() >= {"CAMERAS", "FPS", "SECONDS", "SLO_MS", "STREAMS"}
    assert {name: defaults[name] for name in told} == told


def test_tests_take_as_long_in_every_document() -> None:
    (minutes,) = re.findall(r"^test: ## .* \((\d+) minutes\)", MAKEFILE, re.MULTILINE)
    assert f"# {minutes} minutes on 2 cores" in (ROOT / "CONTRIBUTING.md").read_text()
    (minutes,) = re.findall(r"^test-hosts: ## .*; (\d+) minutes\)", MAKEFILE, re.MULTILINE)
    assert f"`make test-hosts` (root; {minutes} minutes)" in (ROOT / "CONTRIBUTING.md").read_text()
