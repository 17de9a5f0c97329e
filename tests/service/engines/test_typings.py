"""Our typings name nothing that the real libraries lack, and the fakes nothing that the typings lack."""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.service.engines.fake_cuda import CudaFaults, make_cuda
from tests.service.engines.fake_device import FakeDevice
from tests.service.engines.fake_pycuda import make_pycuda
from tests.service.engines.fake_tensorrt import TrtFaults, make_tensorrt

ROOT = Path(__file__).resolve().parents[3]
STUBS = {
    "tensorrt": "tensorrt/__init__.pyi",
    "pycuda.driver": "pycuda/driver.pyi",
    "cuda.bindings.driver": "cuda/bindings/driver.pyi",
}
UNSPOKEN = ("__buffer__",)
"""What C extensions have without an attribute that shows it."""


def names(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, list[str] | None]]:
    """Every dotted name a stub declares, functions with the names of what they take."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, None
            yield from names(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            plain = [decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name)]
            arguments = [argument.arg for argument in node.args.args if argument.arg != "self"]
            yield prefix + node.name, None if "property" in plain else arguments
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield prefix + node.target.id, None


def declared(module: str) -> dict[str, list[str] | None]:
    return dict(names(ast.parse((ROOT / "typings" / STUBS[module]).read_text()).body))


def has(module: ModuleType, dotted: str) -> bool:
    found: object = module
    for part in dotted.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def lacking(module: ModuleType, stub: str) -> set[str]:
    return {dotted for dotted in declared(stub) if not dotted.endswith(UNSPOKEN) and not has(module, dotted)}


@pytest.mark.parametrize("library", STUBS)
def test_the_real_library_has_every_name_of_the_typings(library: str) -> None:
    module = pytest.importorskip(library, exc_type=ImportError, reason=f"{library} is not installed, or has no driver")
    assert lacking(module, library) == set()


def test_tensorrt_rtx_of_the_same_family_has_every_name_of_tensorrt() -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed; `make torch` does that")
    assert lacking(rtx, "tensorrt") == set()


def fakes() -> dict[str, ModuleType]:
    device = FakeDevice()
    return {
        "tensorrt": make_tensorrt(device, TrtFaults()),
        "pycuda.driver": make_pycuda(device),
        "cuda.bindings.driver": make_cuda(device, CudaFaults()),
    }


def public(owner: object, prefix: str = "") -> Iterator[str]:
    for name, value in vars(owner).items():
        if name.startswith("_"):
            continue
        yield prefix + name
        if isinstance(value, type):
            yield from public(value, f"{prefix}{name}.")


ENUM_VALUES = {"DataType.BF16", "CUresult.CUDA_ERROR_ILLEGAL_ADDRESS", "CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}
"""Only answered by a fake, never named by our code."""


@pytest.mark.parametrize("library", STUBS)
def test_a_fake_has_only_names_of_the_typings(library: str) -> None:
    known = set(declared(library))
    assert {name for name in public(fakes()[library]) if name not in known} <= ENUM_VALUES


@pytest.mark.parametrize("library", STUBS)
def test_a_fakes_functions_take_what_the_typings_say(library: str) -> None:
    fake, wrong = fakes()[library], {}
    for dotted, arguments in declared(library).items():
        if arguments is None or not has(fake, dotted) or dotted.endswith("__"):
            continue
        found: object = fake
        for part in dotted.split("."):
            found = getattr(found, part)
        code = found.__code__  # type: ignore[attr-defined]
        taken = [name for name in code.co_varnames[: code.co_argcount] if name != "self"]
        if taken != arguments:
            wrong[dotted] = (taken, arguments)
    assert wrong == {}
