"""Has the release build TensorRT engines for the GPUs of this host; what cannot be built is served by ONNX Runtime.

Flow: [Fleet] on an .onnx model + [Devices] -> `service.models.build` once per GPU type -> model by GPU name.
"""

import re
from collections.abc import Sequence

from deploy.checks.golden import model_of
from deploy.fleet import Fleet
from deploy.machine.command import Runner
from deploy.machine.devices import Devices, Gpu
from deploy.machine.world import World
from deploy.release import GOLDEN

GRAPH_SUFFIX = ".onnx"
# The builder's last line; it keeps what it built, by everything an engine depends on.
BUILT = re.compile(r"MODEL=(?P<path>/\S+\.engine)\s*$")


def build_engines(fleet: Fleet, devices: Devices, runner: Runner, world: World) -> dict[str, str]:
    """Builds, or finds, an engine for each type of GPU that instances run on.

    Args:
        fleet: as it would run without engines.
        devices: what the host has.
        runner: runs a command and waits for its end.
        world: is told what is built, and why something is not.

    Returns:
        The model to serve, by the GPU's name; GPUs without an engine are left out.
    """
    if not fleet.model.endswith(GRAPH_SUFFIX):
        return {}
    used = {instance.device for instance in fleet.instances}
    types: dict[str, Gpu] = {}
    for gpu in devices.gpus:
        if gpu.uuid in used:
            types.setdefault(gpu.name, gpu)
    engines = {}
    for name, gpu in types.items():
        world.say(f"== engine: TensorRT for {name}; takes minutes the first time")
        outcome = runner(_command(fleet, gpu))
        last = (outcome.output.strip().splitlines() or ["no output"])[-1]
        if outcome.code == 0 and (match := BUILT.search(last)):
            engines[name] = match["path"]
        else:
            world.say(f"note: no engine for {name} ({last}); ONNX Runtime serves there")
    return engines


def engines_of(fleet: Fleet, devices: Devices) -> dict[str, str]:
    """The engines that a fleet serves already, by the GPU's name."""
    names = {gpu.uuid: gpu.name for gpu in devices.gpus}
    models = {names[i.device]: model_of(i) for i in fleet.instances if i.device in names}
    return {name: model for name, model in models.items() if model != fleet.model}


def _command(fleet: Fleet, gpu: Gpu) -> Sequence[str]:
    build = (str(fleet.code.python), "-I", "-m", "service.models.build", fleet.model, "--var", str(fleet.paths.state))
    # Its boxes are compared on the picture that came with the release.
    return ("env", f"CUDA_VISIBLE_DEVICES={gpu.uuid}", *build, "--frames", str(fleet.code.repo / GOLDEN))
