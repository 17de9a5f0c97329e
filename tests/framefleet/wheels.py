"""A wheel made on the spot, for pip to find without a network."""

import hashlib
import zipfile
from pathlib import Path


def make_wheel(folder: Path, name: str, source: str = "") -> str:
    """Puts version 1 of a package with one module into a folder; returns its line in a lock."""
    path = folder / f"{name}-1-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    about = f"{name}-1.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", source)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return f"{name}==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
