import pytest

from framefleet.machine.cpus import parse_cpus, write_cpus

LISTS = [
    pytest.param("", (), id="none"),
    pytest.param("0", (0,), id="one"),
    pytest.param("0-3", (0, 1, 2, 3), id="run"),
    pytest.param("0-1,8,10-11", (0, 1, 8, 10, 11), id="runs"),
]


@pytest.mark.parametrize(("text", "cpus"), LISTS)
def test_lists_are_read_as_the_kernel_writes_them(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpus(f"{text}\n") == cpus


@pytest.mark.parametrize(("text", "cpus"), LISTS)
def test_lists_are_written_as_the_kernel_does(text: str, cpus: tuple[int, ...]) -> None:
    assert write_cpus(cpus[::-1]) == text


@pytest.mark.parametrize("text", ["a", "1,", "1-", "-1", "1--2", "0x1", "1 2", "٣"])
def test_what_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no list of CPUs such as 0-3,8"):
        parse_cpus(text)
