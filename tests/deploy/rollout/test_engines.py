from collections.abc import Sequence
from dataclasses import replace

from deploy.fleet import Fleet
from deploy.machine.command import Outcome
from deploy.machine.devices import Devices, Gpu
from deploy.rollout.host_setup import build_engines, engines_of
from tests.deploy.fleets import fleet_of
from tests.deploy.recorded import recorded

L4 = [Gpu("0", "GPU-aaaa", "NVIDIA L4"), Gpu("1", "GPU-bbbb", "NVIDIA L4")]
T4 = Gpu("2", "GPU-cccc", "Tesla T4")
DEVICES = Devices((*L4, T4), {0: (0, 1)})
ENGINE = "/srv/models/m-l4.engine"


def fleet_on(*gpus: Gpu, model: str = "/m/model.onnx") -> Fleet:
    fleet = fleet_of(len(gpus), model=model)
    on = [replace(instance, device=gpu.uuid) for instance, gpu in zip(fleet.instances, gpus, strict=True)]
    return replace(fleet, instances=tuple(on))


class Builder:
    """Takes the place of the engine builder, which needs a GPU: builds for the L4, fails on anything else."""

    def __init__(self) -> None:
        self.built_for: list[str] = []

    def __call__(self, command: Sequence[str]) -> Outcome:
        visible = next(part for part in command if part.startswith("CUDA_VISIBLE_DEVICES=")).partition("=")[2]
        self.built_for.append(visible)
        if visible == "GPU-aaaa":
            return Outcome(0, f"accuracy: fine\nserve it: make up MODEL={ENGINE}\n")
        return Outcome(1, "engine: no TensorRT here\n")


def build(fleet: Fleet) -> tuple[dict[str, str], Builder, list[str]]:
    builder, said = Builder(), list[str]()
    return build_engines(fleet, DEVICES, recorded({"run": builder}, said)), builder, said


def test_one_engine_is_built_per_type_of_gpu() -> None:
    engines, builder, _ = build(fleet_on(*L4))
    assert (engines, builder.built_for) == ({"NVIDIA L4": ENGINE}, ["GPU-aaaa"])


def test_a_gpu_without_engine_is_left_to_onnx_runtime_and_the_reason_told() -> None:
    engines, _, said = build(fleet_on(L4[0], T4))
    assert engines == {"NVIDIA L4": ENGINE}
    assert said[-1] == "note: no engine for Tesla T4 (engine: no TensorRT here); ONNX Runtime serves there"


def test_other_models_and_cpus_need_none() -> None:
    assert build(fleet_on(*L4, model="/m/ready.engine"))[1].built_for == []
    assert build(fleet_of(2, model="/m/model.onnx"))[1].built_for == []


def test_the_engines_that_a_fleet_serves_are_found_again() -> None:
    fleet = fleet_on(L4[0], T4)
    first = fleet.instances[0]
    served = replace(first, environment={**first.environment, "FRAMEFLEET_MODEL": ENGINE})
    assert engines_of(replace(fleet, instances=(served, fleet.instances[1])), DEVICES) == {"NVIDIA L4": ENGINE}
