"""What an instance is told to listen on is an address or a name, and nothing else."""

import pytest

from service.errors import StartError
from service.host import in_address
from service.settings import read_settings


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("::", "::"),
        ("2001:db8::8101", "2001:db8::8101"),
        ("localhost", "localhost"),
        ("gpu_1.example.com.", "gpu_1.example.com."),
        ("3com.example", "3com.example"),
    ],
)
def test_an_address_or_name_is_taken(text: str, host: str) -> None:
    assert read_settings({"FRAMEFLEET_HOST": text}).host == host


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("127.0.0.1:8501", "ends in a port, which FRAMEFLEET_PORT alone sets"),
        ("localhost:8501", "ends in a port"),
        ("[::1]:8501", "ends in a port"),
        ("http://127.0.0.1", "is a URL"),
        ("fd://3", "is a URL"),
        ("unix:/run/x", "is no address and no name"),
        ("127.0.0.1/", "is no address and no name"),
        ("", "is empty"),
        (" ", "is empty"),
        ("127.0.0.1 ", "has blanks"),
        ("127.0.0.1\r", "has blanks"),
        ("127.0.0.1,::1", "is no address and no name"),
        ("a b", "has blanks"),
        ("*", "write 0.0.0.0"),
        ("127.1", "is no address and no name"),
        ("8501", "is no address and no name"),
        ("0", "is no address and no name"),
        ("0x7f000001", "is no address and no name"),
        ("256.0.0.1", "is no address and no name"),
        ("[::1", "is no address and no name"),
        ("[127.0.0.1]", "is no address and no name"),
        ("fe80::1%eth0", "has a zone"),
        ("-h", "is no address and no name"),
        ("a..b", "is no address and no name"),
        ("é", "is no address and no name"),
        (f"{'a' * 64}.example", "is no address and no name"),
        (".".join(["a" * 63] * 4), "is no address and no name"),
    ],
)
def test_anything_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(StartError, match=f"^FRAMEFLEET_HOST: .*{message}"):
        read_settings({"FRAMEFLEET_HOST": text})


def test_an_ipv6_address_gets_brackets_beside_a_port() -> None:
    assert (in_address("::1", 80), in_address("127.0.0.1", 80)) == ("[::1]:80", "127.0.0.1:80")
