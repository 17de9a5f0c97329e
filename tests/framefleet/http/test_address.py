import pytest

from framefleet.http.address import AddressError, service_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("https://cameras.example/", "https://cameras.example"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        (" http://host/detector/ ", "http://host/detector"),
        ("HTTP://host", "HTTP://host"),
    ],
)
def test_an_address_loses_its_last_slash(text: str, address: str) -> None:
    assert service_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "http://any:SECRET@host:8080",
        "http://SECRET@host",
        "any:SECRET@host",
        "http://any:SEC/RET@host",
        "http://any:SEC?RET@host",
        "http://any:SECRET@[::1",
        "http://host/?key=SECRET",
        "http://host/#SECRET",
        "http://host/;key=SECRET",
        "http://any:SECRET%40host",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(AddressError) as raised:
        service_address(text)
    assert "SEC" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "host:8080", "ftp://host", "http://", "http://host:0x50", "http://host:99999"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError, match=r"http://HOST:PORT"):
        service_address(text)
