import pytest

from loadtest.__main__ import main
from loadtest.errors import OptionError
from loadtest.meeting import meeting_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("10.0.0.1:5557", ("10.0.0.1", "5557")),
        ("lead.example:1", ("lead.example", "1")),
        ("[::1]:65535", ("::1", "65535")),
    ],
)
def test_a_place_is_an_address_and_a_port(text: str, place: tuple[str, str]) -> None:
    assert meeting_place(text, "--bind") == place


@pytest.mark.parametrize(
    "text", ["SECRET@host:5557", "SECRET", ":5557", "host:0", "host:65536", "host:", "host:x", "-x:5557 ", "host:5²"]
)
@pytest.mark.parametrize("option", ["--bind", "--master"])
def test_what_is_no_such_place_is_refused_and_not_repeated(option: str, text: str) -> None:
    with pytest.raises(OptionError, match=rf"{option}: must be ADDRESS:PORT") as caught:
        meeting_place(text.replace("-x", "a b"), option)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize("verb", [["scenario", "cameras", "--bind"], ["capacity", "--bind"], ["worker", "--master"]])
def test_every_verb_refuses_one_before_anything_starts(
    verb: list[str], sample_video: object, capsys: pytest.CaptureFixture[str]
) -> None:
    address = [] if verb[0] == "worker" else ["--url", "http://127.0.0.1:1", "--video", str(sample_video)]
    assert main([*verb, "SECRET@127.0.0.1:5557", *address]) == 2
    assert "SECRET" not in capsys.readouterr().err
