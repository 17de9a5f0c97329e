import pytest

from framefleet.http.api_key import BadKeyError, given_key


@pytest.mark.parametrize("text", ["s3cret", " s3cret\n", "s3cret\r", "\ts3cret\r\n"])
def test_what_a_file_or_a_paste_leaves_around_a_key_is_no_part_of_it(text: str) -> None:
    assert given_key({"FLEET_API_KEY": text}) == "s3cret"


def test_no_key_is_none() -> None:
    assert given_key({}) == given_key({"FLEET_API_KEY": ""}) == given_key({"FLEET_API_KEY": " \n"}) == ""


@pytest.mark.parametrize(
    "text", ["s3c\nret", "s3c ret", "s3c\u00a0ret", "“s3cret”", "s3cr\u00e9t", "s3cret\udcff", "s3c\0ret"]
)
def test_what_no_request_can_bring_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadKeyError, match="FLEET_API_KEY has blanks or characters other than ASCII") as refused:
        given_key({"FLEET_API_KEY": text})
    assert "s3c" not in str(refused.value)
