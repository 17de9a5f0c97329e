"""The key that the load generator sends; that it gets in is shown with a whole fleet in tests/e2e/test_secrets.py."""

import pytest

from loadtest.errors import OptionError
from loadtest.target.api_key import key_header
from loadtest.target.target import Target
from tests.service.stub import Reply, running_stub


def test_the_key_comes_from_the_environment_alone() -> None:
    assert key_header({"FLEET_API_KEY": "s3cret"}) == {"Authorization": "Bearer s3cret"}
    assert key_header({"FLEET_API_KEY": ""}) == key_header({}) == {}


def test_what_is_asked_beside_the_load_brings_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_API_KEY", "s3cret")
    with running_stub(Reply()) as stub, Target(stub.url, 30) as target:
        target.detect("/v1/detect", b"picture", "")
    assert stub.authorizations == {"Bearer s3cret"}


def test_what_is_no_key_is_a_wrong_option() -> None:
    with pytest.raises(OptionError, match=r"^FLEET_API_KEY has blanks"):
        key_header({"FLEET_API_KEY": "s3cr\u00e9t"})
