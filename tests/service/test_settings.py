"""Settings are one table: read once, checked whole, every problem named."""

import pytest

from service.errors import StartError
from service.settings import MODES, Settings, read_settings, settings_table


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings({"PATH": "/bin"}) == Settings()


def test_values_are_read_with_their_types() -> None:
    settings = read_settings({"FRAMEFLEET_PORT": "9000", "FRAMEFLEET_CONF": "0.5", "FRAMEFLEET_INSTANCE": "gpu0"})
    assert (settings.port, settings.conf, settings.instance) == (9000, 0.5, "gpu0")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("FRAMEFLEET_PORT", "eighty", "FRAMEFLEET_PORT: 'eighty' is not a whole number"),
        ("FRAMEFLEET_PORT", "0", "FRAMEFLEET_PORT: 0 is outside 1 to 65535"),
        ("FRAMEFLEET_CONF", "1.01", "FRAMEFLEET_CONF: 1.01 is outside 0 to 1"),
        ("FRAMEFLEET_CONF", "nan", "FRAMEFLEET_CONF: nan is outside 0 to 1"),
        ("FRAMEFLEET_MODE", "fast", "FRAMEFLEET_MODE: 'fast' is not one of latency, throughput"),
        ("FRAMEFLEET_MODEL", " ", "FRAMEFLEET_MODEL: is empty; unset it for the default"),
        ("FRAMEFLEET_PROT", "1", "FRAMEFLEET_PROT: no such setting; did you mean FRAMEFLEET_PORT?"),
        ("FRAMEFLEET_XQZW", "1", "FRAMEFLEET_XQZW: no such setting; see the settings table"),
    ],
)
def test_a_wrong_value_is_fatal_and_named(variable: str, value: str, message: str) -> None:
    with pytest.raises(StartError) as caught:
        read_settings({variable: value})
    assert message in str(caught.value)


def test_a_mode_sets_the_knobs_that_are_not_set_by_hand() -> None:
    throughput = read_settings({"FRAMEFLEET_MODE": "throughput"})
    assert (throughput.max_wait_ms, throughput.queue_size) == (5.0, 128)
    by_hand = read_settings({"FRAMEFLEET_MODE": "throughput", "FRAMEFLEET_QUEUE_SIZE": "7"})
    assert (by_hand.max_wait_ms, by_hand.queue_size) == (5.0, 7)


def test_the_table_says_what_the_modes_change() -> None:
    (why,) = [row.why for row in settings_table() if row.variable == "FRAMEFLEET_MODE"]
    for name, value in MODES["throughput"].items():
        assert f"{name} to {value:g}" in why


def test_the_default_mode_is_the_defaults() -> None:
    assert Settings(**MODES[Settings().mode]) == Settings()  # type: ignore[arg-type]


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(StartError) as caught:
        read_settings({"FRAMEFLEET_PORT": "x", "FRAMEFLEET_IOU": "7", "FRAMEFLEET_WRONG_NAME": ""})
    assert str(caught.value).count("FRAMEFLEET_") >= 3


@pytest.mark.parametrize("row", settings_table(), ids=lambda row: row.variable)
def test_every_default_is_within_its_own_limits(row: object) -> None:
    variable, default = row.variable, row.default  # type: ignore[attr-defined]
    assert read_settings({variable: default}) == Settings()
