import pytest

from service.engines.ort.providers import CPU, CUDA, TENSORRT, Placement, placements, tensorrt_options
from service.errors import StartError


@pytest.mark.parametrize(
    ("device", "offered", "expected"),
    [
        pytest.param("auto", [CPU], ["cpu"], id="auto without a GPU build"),
        pytest.param("auto", [TENSORRT, CUDA, CPU], ["cuda", "cpu"], id="auto with one"),
        pytest.param("cpu", [TENSORRT, CUDA, CPU], ["cpu"], id="cpu"),
        pytest.param("cuda", [CUDA, CPU], ["cuda"], id="cuda"),
        pytest.param("tensorrt", [TENSORRT, CUDA, CPU], ["tensorrt"], id="tensorrt"),
    ],
)
def test_only_auto_tries_more_than_one_device(device: str, offered: list[str], expected: list[str]) -> None:
    assert [placement.device for placement in placements(device, offered)] == expected


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_device_that_is_not_offered_is_refused(device: str) -> None:
    with pytest.raises(StartError, match=rf"FRAMEFLEET_DEVICE: {device}: .*\(it offers {CPU}\); install"):
        placements(device, [CPU])


def test_options_go_to_the_devices_own_provider() -> None:
    placement = Placement("tensorrt", {"a": 1})

    assert placement.provider == TENSORRT
    assert placement.chain == [(TENSORRT, {"a": 1}), (CUDA, {}), (CPU, {})]


def test_tensorrt_makes_one_engine_for_every_batch() -> None:
    options = tensorrt_options("var/cache/tensorrt", (384, 640), 8)

    assert options["trt_profile_min_shapes"] == "frames:1x384x640x3"
    assert options["trt_profile_max_shapes"] == options["trt_profile_opt_shapes"] == "frames:8x384x640x3"
    assert options["trt_engine_cache_path"] == "var/cache/tensorrt"
