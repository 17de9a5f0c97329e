"""Query parameters and the timeout header, each within its limits."""

import pytest
from werkzeug.datastructures import MultiDict

from service.errors import InvalidValue
from service.pipeline.boxes import Selection
from service.protocols.native.query import read_selection, read_timeout_ms

DEFAULTS = Selection(conf=0.35, iou=0.4)
CLASSES = ("T01", "T02_1", "2")


def read(**query: str) -> Selection:
    return read_selection(MultiDict(query), DEFAULTS, CLASSES)


def test_without_parameters_the_defaults_hold() -> None:
    assert read() == DEFAULTS


def test_every_parameter_is_read() -> None:
    wanted = Selection(conf=0.1, iou=1.0, agnostic=True, max_det=7, classes=frozenset({0, 1}))
    assert read(conf="0.1", iou="1", agnostic="true", max_det="7", classes="T01, 1") == wanted


def test_a_class_name_that_looks_like_an_id_is_a_name() -> None:
    assert read(classes="2").classes == frozenset({2})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("conf", "high", "conf: 'high' is not a number from 0 to 1"),
        ("conf", "1.5", "from 0 to 1"),
        ("conf", "nan", "from 0 to 1"),
        ("conf", "0_1", "from 0 to 1"),
        ("conf", " 0.5", "from 0 to 1"),
        ("conf", "\N{FULLWIDTH DIGIT ONE}", "from 0 to 1"),
        ("iou", "-1", "iou"),
        ("max_det", "0", "from 1 to 300"),
        ("max_det", "301", "from 1 to 300"),
        ("max_det", "2.5", "whole number"),
        ("agnostic", "maybe", "agnostic: 'maybe' is not one of"),
        ("classes", "T99", "'T99' is not a class of this model"),
        ("classes", "3", "0 to 2"),
        ("classes", "9" * 5000, "0 to 2"),
        ("classes", "", "''"),
        ("confidence", "0.5", "no such parameter"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        read(**{name: value})
    assert words in str(caught.value)


def test_a_parameter_given_twice_is_refused_rather_than_one_of_them_taken() -> None:
    with pytest.raises(InvalidValue, match="conf: given more than once"):
        read_selection(MultiDict([("conf", "0.1"), ("conf", "0.9")]), DEFAULTS, CLASSES)


@pytest.mark.parametrize(("header", "ms"), [(None, 5000), ("250", 250), ("99999", 5000)])
def test_a_client_may_shorten_the_deadline_but_not_lengthen_it(header: str | None, ms: float) -> None:
    assert read_timeout_ms(header, 5000) == ms


@pytest.mark.parametrize("header", ["0", "-5", "soon", "inf"])
def test_a_wrong_timeout_is_named(header: str) -> None:
    with pytest.raises(InvalidValue, match="X-Timeout-Ms"):
        read_timeout_ms(header, 5000)
