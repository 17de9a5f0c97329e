from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from deploy.allowance import Allowance
from deploy.rollout.summary import changes
from tests.deploy.fleets import fleet_of

KEYS = {"FRAMEFLEET_KEYS": "var/keys"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        pytest.param({}, {}, (), id="nothing"),
        pytest.param({}, {"model": "/m/best.onnx"}, ("model centerface-320 -> best",), id="model"),
        pytest.param({"model": "/m/best.onnx"}, {}, ("model best -> centerface-320",), id="back to the default model"),
        pytest.param(
            {"model": "/a/best.onnx"}, {"model": "/b/best.onnx"}, ("model /a/best.onnx -> /b/best.onnx",), id="one name"
        ),
        pytest.param(
            {"model": "simulated:a_ms=2"}, {}, ("model simulated:a_ms=2 -> centerface-320",), id="simulated model"
        ),
        pytest.param({"port": 8080}, {"port": 8090}, ("port 8080 -> 8090",), id="port"),
        pytest.param({}, {"instance_port": 8201}, ("instance port 8101 -> 8201",), id="instance port"),
        pytest.param(
            {"instances": 2},
            {"instances": 4},
            ("instances 2 -> 4", "CPUs of the first 0-3 -> 0-1", "threads of each 4 -> 2"),
            id="instances",
        ),
        pytest.param({}, {"release": "r2"}, ("release dev -> r2",), id="release"),
        pytest.param({}, {"environ": KEYS}, ("keys off -> /home/operator/var/keys",), id="keys on"),
        pytest.param({"environ": KEYS}, {}, ("keys /home/operator/var/keys -> off",), id="keys off"),
        pytest.param(
            {"environ": {"FRAMEFLEET_CONF": "0.5"}}, {}, ("FRAMEFLEET_CONF 0.5 -> default",), id="setting unset"
        ),
        pytest.param(
            {"environ": {"FRAMEFLEET_IOU": "0.5", "FRAMEFLEET_CONF": "0.3"}},
            {"environ": {"FRAMEFLEET_IOU": "0.6", "FRAMEFLEET_CONF": "0.4"}},
            ("FRAMEFLEET_CONF 0.3 -> 0.4", "FRAMEFLEET_IOU 0.5 -> 0.6"),
            id="settings",
        ),
    ],
)
def test_every_option_that_differs_is_named_with_both_values(
    before: Mapping[str, Any], after: Mapping[str, Any], said: tuple[str, ...]
) -> None:
    assert changes(fleet_of(**before), fleet_of(**after)) == said


def test_limits_are_options_too() -> None:
    fleet = fleet_of()
    limited = replace(fleet, balancer=replace(fleet.balancer, allowance=Allowance(5, 0, 2, 0)))
    assert changes(fleet, limited) == (
        "rate any -> 5",
        "burst 100 -> 0",
        "concurrency any -> 2",
        "connections 256 -> any",
    )


def test_where_a_fleet_keeps_its_files_is_no_option() -> None:
    fleet = fleet_of()
    assert changes(fleet, replace(fleet, code=replace(fleet.code, repo=fleet.paths.state))) == ()
