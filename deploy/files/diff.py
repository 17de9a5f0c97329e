"""Shows how rendered files differ from those that are there."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from deploy.rendered_file import RenderedFile

# Says again, in another form, what the other files say.
RECORD = PurePosixPath("fleet.json")


def differences(files: Sequence[RenderedFile], present: Mapping[PurePosixPath, str]) -> Iterator[str]:
    """Lines of a unified diff from what is there to what was rendered; none if they agree.

    Args:
        files: what was rendered.
        present: text of the files that are there, by their path.
    """
    wanted = {file.path: file.text for file in files}
    for path in sorted((wanted.keys() | present.keys()) - {RECORD}):
        yield from difflib.unified_diff(
            present.get(path, "").splitlines(),
            wanted.get(path, "").splitlines(),
            f"present/{path}" if path in present else "/dev/null",
            f"wanted/{path}" if path in wanted else "/dev/null",
            lineterm="",
        )
