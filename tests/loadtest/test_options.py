"""One table of options serves two command lines."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.errors import OptionError
from loadtest.options import HELP, QUERY, ReplayOptions, add_arguments, from_namespace, to_arguments
from service.protocols.native.query import PARAMETERS


def parsed(*arguments: str) -> ReplayOptions:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return from_namespace(parser.parse_args(arguments))


def test_defaults_are_the_records() -> None:
    assert parsed() == ReplayOptions()


def test_every_option_is_explained() -> None:
    assert set(HELP) == set(ReplayOptions.__slots__)


@given(
    st.builds(
        ReplayOptions,
        video=st.sampled_from(["a.mp4", "with space.mp4", "-dash.mp4"]),
        cameras=st.integers(1, 500),
        fps=st.floats(0.1, 60),
        seconds=st.floats(0.1, 3600),
        seed=st.integers(0, 2**31),
        threshold=st.floats(0, 1),
    )
)
def test_options_survive_the_command_line(options: ReplayOptions) -> None:
    assert parsed(*to_arguments(options)) == options


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--cameras=0", "--cameras=0: must be above 0"),
        ("--fps=-1", "--fps=-1.0: must be above 0"),
        ("--seconds=0", "--seconds=0.0: must be above 0"),
        ("--in-flight=0", "--in-flight=0: must be above 0"),
        ("--width=-1", "--width=-1: must not be negative"),
        ("--quality=101", "--quality=101: must be from 1 to 100"),
        ("--threshold=2", "--threshold=2.0: must be from 0 to 1"),
        ("--route=v1/detect", "--route=v1/detect: must begin with /"),
        ("--fps=nan", "--fps=nan: must be above 0"),
        ("--seconds=inf", "--seconds=inf: must be finite"),
    ],
)
def test_a_senseless_value_is_named(argument: str, complaint: str) -> None:
    with pytest.raises(OptionError) as caught:
        parsed(argument)
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--burst=0"], "--burst=0: must be above 0"),
        (["--warmup-s=-1"], "--warmup-s=-1.0: must not be negative"),
        (["--warmup-s=30"], "--warmup-s=30.0: must be shorter than the run"),
        (["--phases=1x5,1x5", "--warmup-s=10"], "--warmup-s=10.0: must be shorter than the run"),
        (["--phases=fast"], "--phases=fast: give FACTORxSECONDS,..., each above 0, e.g. 1.5x20,0.5x30"),
    ],
)
def test_a_senseless_schedule_is_named(arguments: list[str], complaint: str) -> None:
    with pytest.raises(OptionError) as caught:
        parsed(*arguments)
    assert str(caught.value) == complaint


@pytest.mark.parametrize("argument", ["--arrivals=sometimes", "--keep=oldest", "--payload=gif"])
def test_an_unknown_word_is_a_usage_error(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(argument)
    assert "invalid choice" in capsys.readouterr().err


def test_the_payload_chooses_the_path_unless_one_is_given() -> None:
    assert [parsed(f"--payload={name}").path for name in ("jpeg", "base64")] == ["/v1/detect", "/predict"]
    assert parsed("--payload=base64", "--route=/v1/detect").path == "/v1/detect"


def test_phases_make_the_length_and_a_closed_loop_asks_for_no_rate() -> None:
    options = parsed("--phases=2x5,1x7.5", "--cameras=3", "--fps=4")
    assert (options.length_s, options.asked_fps) == (12.5, 12.0)
    assert parsed("--arrivals=closed").asked_fps == 0.0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--fps=1e9"], "--fps=1000000000.0: must be at most 100,000"),
        (["--fps=1e-6"], "--fps=1e-06: must be at least 0.001"),
        (["--cameras=1000000000"], "--cameras=1000000000: must be at most 10,000"),
        (["--seconds=1e9"], "--seconds=1000000000.0: must be at most 2,592,000"),
        (["--burst=1000000000"], "--burst=1000000000: must be at most 100,000"),
        (["--max-frames=1000000000"], "--max-frames=1000000000: must be at most 1,000,000"),
        (["--width=1000000"], "--width=1000000: must be at most 7,680"),
        (["--every=1000000000"], "--every=1000000000: must be at most 1,000,000"),
        (["--in-flight=1000000000"], "--in-flight=1000000000: must be at most 10,000,000"),
        (["--wait-s=1e6"], "--wait-s=1000000.0: must be at most 3,600"),
        (["--seed=-99999999999999999999"], "--seed=-99999999999999999999: must be at most 4,611,686,018,427,387,904"),
        (["--box-px=1e308"], "--box-px=1e+308: must be at most 100"),
        (["--score-tolerance=2"], "--score-tolerance=2.0: must be at most 1"),
        (["--phases=1x9999999"], "--phases=1x9999999: must last 30 days at most"),
        (
            ["--cameras=5000", "--fps=25"],
            "--cameras x --fps: 125,000 frames/s are asked for; a run takes 100,000 at most",
        ),
        (["--phases=9999x1"], "--cameras x --fps: 199,980 frames/s are asked for; a run takes 100,000 at most"),
        (
            ["--cameras=1000", "--fps=25", "--seconds=86400"],
            "--cameras x --fps x --seconds: 2,160,000,000 frames; a run takes 200,000,000 at most",
        ),
    ],
)
def test_what_no_machine_can_do_is_refused_before_it_costs_memory(arguments: list[str], complaint: str) -> None:
    with pytest.raises(OptionError) as caught:
        parsed(*arguments)
    assert str(caught.value) == complaint


@pytest.mark.parametrize("address", ["rtsp://any:SECRET@camera/1", " HTTP://camera/clip.mp4?token=SECRET"])
def test_a_cameras_address_is_refused_and_its_password_not_repeated(address: str) -> None:
    with pytest.raises(OptionError, match=r"--video: is an address, .* record one") as caught:
        parsed("--video", address)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    "end",
    [
        *("?api_key=SECRET", "?conf=0.4&key=SECRET", "?Token=SECRET", "?api-key=SECRET", "?auth=SECRET", "?SECRET"),
        *("?%6bey=SECRET", "?conf=0.4;key=SECRET", "#SECRET", ";key=SECRET", "?conf=0.4#SECRET", "/SECRET@host"),
    ],
)
def test_a_key_in_a_route_is_refused_and_not_repeated(end: str) -> None:
    with pytest.raises(OptionError, match=r"--route: .*FLEET_API_KEY") as caught:
        parsed(f"--route=/v1/detect{end}")
    assert "SECRET" not in str(caught.value)
    assert parsed("--route=/v1/detect?conf=0.4").path == "/v1/detect?conf=0.4"


def test_a_route_takes_what_a_detection_can_be_asked_for() -> None:
    assert list(QUERY) == [parameter.name for parameter in PARAMETERS]
