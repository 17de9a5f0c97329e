"""Whatever fleet.toml holds, it is an inventory that can be rendered, or a list of problems."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.describe.fleet_file import parse_inventory, read_inventory
from deploy.describe.inventory import Inventory
from deploy.errors import SettingsError
from deploy.files.render import render
from tests.deploy.inventories import EXAMPLE, NO_GPU, TWO_GPUS, expanded_from
from tests.fuzz.inputs import corpus, damaged, fuzz

FILES = [*corpus("inventory"), EXAMPLE]
TOKENS = [
    *(
        b"[",
        b"]",
        b"[[",
        b"]]",
        b"{",
        b"}",
        b"=",
        b",",
        b'"',
        b"'",
        b'"""',
        b"#",
        b"\n",
        b".",
        b"\\u0000",
        b"\\n",
        b"\xff",
    ),
    *(
        b"[[hosts]]\n",
        b"[hosts.settings]\n",
        b"[settings]\n",
        b"[balancer]\n",
        b"[tls]\n",
        b"[folders]\n",
        b"[ports]\n",
    ),
    *(b"true", b"nan", b"-inf", b"1e400", b"-1", b"0x7fffffff", b"9" * 30, b"1979-05-27T07:32:00Z", b"0_0"),
    *(
        b'"../x"',
        b'"/a b"',
        b'"/a;b"',
        b'"$x"',
        b'"%d"',
        b'"0.0.0.0"',
        b'"::1"',
        b'"auto"',
        b"\xd9\xa3",
        b"{{ 7 * 7 }}",
    ),
    *(
        b'mode = "one"\n',
        b'mode = "edge"\n',
        b'hosts = ["h1"]\n',
        b"gpus = []\n",
        b"cpu = 1\n",
        b"port = 80\n",
        b"drained = true\n",
    ),
]
texts = damaged([path.read_bytes() for path in FILES], TOKENS)
keys = st.sampled_from(
    ["name", "address", "gpus", "cpu", "mode", "hosts", "port", "file", "user", "install", "operators"]
)
scalars = st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.datetimes() | st.dates()


def check(text: str) -> None:
    try:
        inventory = parse_inventory(text)
    except SettingsError as error:
        assert error.problems and all(str(problem) for problem in error.problems)
        return
    assert inventory.hosts
    for host in inventory.hosts:
        check_host(inventory, host.name)


def check_host(inventory: Inventory, name: str) -> None:
    """A host's files can be written, or it is told what it lacks."""
    for devices in (NO_GPU, TWO_GPUS):
        try:
            files = render(expanded_from(inventory, name, devices))
        except SettingsError as error:
            assert error.problems
            continue
        assert all(file.text.endswith("\n") and "\0" not in file.text for file in files)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_corpus(path: Path) -> None:
    check(path.read_text())


@fuzz(2)
@given(text=texts)
def test_damaged_inventories(text: bytes) -> None:
    check(text.decode("utf-8", "replace"))


@fuzz(0.5)
@given(content=texts | st.binary(max_size=100))
def test_files_of_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / f"fleet-{os.getpid()}.toml"
    file.write_bytes(content)
    try:
        read_inventory(file)
    except SettingsError as error:
        assert all(str(problem).startswith(str(file)) for problem in error.problems)


@fuzz()
@given(
    table=st.sampled_from(
        ["", "[model]", "[balancer]", "[system]", "[folders]", "[settings]", "[monitoring]", "[[hosts]]"]
    ),
    values=st.dictionaries(keys, scalars | st.lists(scalars, max_size=3), max_size=4),
)
def test_values_of_the_wrong_kind(table: str, values: dict[str, object]) -> None:
    lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
    check("\n".join([table, *lines]) + '\n[[hosts]]\nname = "h1"\ncpu = 1\n')
    check("\n".join(['[[hosts]]\nname = "h1"\ncpu = 1', table, *lines]))


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    return str(value).replace(" ", "T") if not isinstance(value, int | float) else repr(value)
