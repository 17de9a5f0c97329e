import pytest

from service.engines.torch.engine import classify
from service.errors import EngineFault, InferenceFailed, OutOfMemory


@pytest.mark.parametrize(
    ("message", "device_works", "expected"),
    [
        ("CUDA out of memory. Tried to allocate 2.00 GiB", True, OutOfMemory),
        ("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)", True, OutOfMemory),
        ("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate", True, OutOfMemory),
        ("The size of tensor a (20) must match the size of tensor b (10)", True, InferenceFailed),
        ("CUDA error: an illegal memory access was encountered", False, EngineFault),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", False, EngineFault),
        ("CUDA out of memory, and the context went with it", False, EngineFault),
    ],
)
def test_the_device_decides_whether_an_error_is_the_processs_end(
    message: str, device_works: bool, expected: type[Exception]
) -> None:
    found = classify(RuntimeError(message + "\nCompile with TORCH_USE_CUDA_DSA"), lambda: device_works)
    assert type(found) is expected
    assert message in str(found) and "\n" not in str(found)
