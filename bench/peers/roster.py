"""Who takes part: this service, the server it succeeds, its peers, and a bare route for comparison."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers import environments
from bench.peers.server import Spec

SERVERS = Path(__file__).parent / "servers"
ROOT = Path(__file__).resolve().parents[2]
A_MS, B_MS, SIDE = 2.0, 0.1, 640
INSTANCES = 2

ONE, FLEET, FIRST, FLASK = (
    "Framefleet, 1 instance",
    "Framefleet, 2 behind nginx",
    "the first server",
    "bare Flask route",
)
MODEL_FLEET = "Framefleet, default model"
PEERS = {
    "FastAPI": "fastapi",
    "LitServe": "litserve",
    "mosec": "mosec",
    "BentoML": "bentoml",
    "Ray Serve": "ray",
}
# Who is left out of the ratios to the best peer: ourselves, and what does not do the work.
NOT_PEERS = frozenset({ONE, FLEET, FLASK, MODEL_FLEET})
SETUPS = {
    FIRST: "Flask's own server, base64 in JSON",
    "FastAPI": "uvicorn[standard], a worker a core, thread pool, no access log; no batching",
    "LitServe": "a worker a core, batches of 8, fast_queue, raw body",
    "mosec": "a decoding process a core, one at the accelerator, batches of 8",
    "BentoML": "a worker a core, 16 threads each, no access log; no batching",
    "Ray Serve": "1 replica, batches of 8, decoding in threads, RAY_SERVE_THROUGHPUT_OPTIMIZED=1",
}
LEFT_OUT = {
    "Roboflow inference": (
        "pip had not installed it after 7 minutes and 7.2 GB; its documents have the server fetch its weights from "
        "Roboflow at the first request, which leaves no place for the simulated accelerator."
    ),
    "Triton's Python client": "it is no server.",
}
# The distribution whose version is shown.
PACKAGES = {key: key for key in PEERS.values()} | {"first": "flask"}


def simulated(lock: Path, *, accelerated: bool) -> str:
    """The model of our instances: the accelerator that all processes of one server share."""
    a_ms, b_ms = (A_MS, B_MS) if accelerated else (0, 0)
    return f"simulated:a_ms={a_ms:g},b_ms={b_ms:g},size={SIDE},lock={lock}"


def ours(folder: Path, port: int, *, accelerated: bool) -> list[Spec]:
    """One instance, and two behind nginx."""
    return [
        instance(ONE, port, simulated(folder / "one.lock", accelerated=accelerated)),
        fleet(FLEET, folder / "fleet", port + 1, simulated(folder / "fleet.lock", accelerated=accelerated)),
    ]


def instance(name: str, port: int, model: str) -> Spec:
    """One instance of this service, without a balancer."""
    environment = {"FRAMEFLEET_PORT": str(port), "FRAMEFLEET_INSTANCE": "bench", "FRAMEFLEET_MODEL": model}
    return Spec(name, (sys.executable, "-m", "service"), port, environment, ROOT, raw=True, setup="gunicorn, gthread")


def fleet(name: str, folder: Path, port: int, model: str, *, checked: bool = True) -> Spec:
    """Two instances behind nginx, as `make up` starts them."""
    command = [sys.executable, "-m", "deploy", "exec", "--var", str(folder), "--instances", str(INSTANCES)]
    command += ["--port", str(port), "--instance-port", str(port + 20), "--model", model, "--", "sleep", "86400"]
    parts = tuple(range(port + 20, port + 20 + INSTANCES))
    setup = "as `make up` starts them"
    return Spec(name, tuple(command), port, {}, ROOT, raw=True, checked=checked, setup=setup, parts=parts)


def flask_route(port: int) -> Spec:
    """A route that reads and answers, under the gunicorn that instances run under."""
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread"]
    command += ["--threads", "24", "--workers", "1", "--keep-alive", "75", "flask_route:create_app()"]
    return Spec(FLASK, tuple(command), port, {}, SERVERS, checked=False, setup="gunicorn, gthread, 24 threads")


def peers(names: Sequence[str], folder: Path, port: int, environments_folder: Path, *, accelerated: bool) -> list[Spec]:
    """The first server and its like, by their names, each in its own environment, on ports in a row.

    Raises:
        InstallError: one could not be installed.
    """
    made = []
    for number, name in enumerate(names, port):
        key = PEERS.get(name, "first")
        python = environments.python_of(key, environments_folder)
        own = _accelerator(folder / f"{key}.lock", accelerated=accelerated) | _own(key, folder)
        own |= {"PEER_PORT": str(number), "PATH": f"{python.parent}:{os.environ['PATH']}"}
        version = f"{PACKAGES[key]} {environments.version_of(python, PACKAGES[key])}"
        raw = name == FIRST
        command = _command(key, python, number)
        made.append(Spec(name, command, number, own, SERVERS, not raw, raw, version=version, setup=SETUPS[name]))
    return made


def _command(key: str, python: Path, port: int) -> tuple[str, ...]:
    if key == "bentoml":
        serve = ("serve", "bentoml_server:Detector", "--host", "127.0.0.1", "--port", str(port))
        return (str(python), "-m", "bentoml", *serve)
    return (str(python), f"{key}_server.py")


def _own(key: str, folder: Path) -> dict[str, str]:
    match key:
        case "ray":
            return {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(folder)}
        case "bentoml":
            return {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "bentoml")}
    return {}


def _accelerator(lock: Path, *, accelerated: bool) -> dict[str, str]:
    a_ms, b_ms = (A_MS, B_MS) if accelerated else (0.0, 0.0)
    return {"PEER_LOCK": str(lock), "PEER_A_MS": str(a_ms), "PEER_B_MS": str(b_ms), "PYTHONPATH": str(SERVERS)}
