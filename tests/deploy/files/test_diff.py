from pathlib import PurePosixPath

from deploy.rendered_file import RenderedFile
from deploy.verbs.fleet_verbs import differences

A, B, RECORD = PurePosixPath("nginx/a.conf"), PurePosixPath("b.conf"), PurePosixPath("fleet.json")


def test_what_changes_appears_and_goes_is_shown_file_by_file() -> None:
    files = (RenderedFile(A, "one\ntwo\n"), RenderedFile(B, "new\n"))
    present = {A: "one\n2\n", PurePosixPath("gone.conf"): "old\n"}
    assert list(differences(files, present)) == [
        "--- /dev/null",
        "+++ wanted/b.conf",
        "@@ -0,0 +1 @@",
        "+new",
        "--- present/gone.conf",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-old",
        "--- present/nginx/a.conf",
        "+++ wanted/nginx/a.conf",
        "@@ -1,2 +1,2 @@",
        " one",
        "-2",
        "+two",
    ]


def test_the_record_says_nothing_that_the_files_do_not() -> None:
    assert list(differences((RenderedFile(A, "one\n"), RenderedFile(RECORD, "{}")), {A: "one\n"})) == []
