import pytest

from framefleet.http.refusal import key_advice


@pytest.mark.parametrize(
    ("status", "key", "advice"),
    [
        (401, "", "set FLEET_API_KEY to one of its API keys; `make key NAME=...` makes one"),
        (401, "k3y", "the key that was sent is none of its keys: correct FLEET_API_KEY"),
        (403, "k3y", "the key that was sent may not do this: FLEET_API_KEY needs one with SCOPES=detect"),
    ],
)
def test_a_refusal_names_the_variable_and_never_the_key(status: int, key: str, advice: str) -> None:
    assert advice in key_advice(status, key)
    assert "k3y" not in key_advice(status, key)


@pytest.mark.parametrize(("status", "key"), [(200, ""), (403, ""), (415, "k3y"), (503, "")])
def test_other_answers_are_not_the_keys_fault(status: int, key: str) -> None:
    assert key_advice(status, key) == ""
