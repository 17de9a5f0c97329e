"""The documents say what the code does."""

import re
from pathlib import Path

from service.settings_page import settings_page

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MAX_LINES = 250
DOCS = tuple(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))


def test_the_settings_page_is_made_from_the_code() -> None:
    assert (ROOT / "docs/settings.md").read_text() == settings_page(), "run the command that stands in its third line"


def test_readme_names_every_make_target() -> None:
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets
    assert [target for target in targets if f"`make {target}" not in README] == []


def test_ci_runs_the_commands_that_readme_gives() -> None:
    commands = re.findall(r"^make .*$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert commands
    assert [command for command in commands if command not in README] == []


def test_documents_can_be_read_in_one_sitting() -> None:
    for document in ("README.md", "ARCHITECTURE.md"):
        assert len((ROOT / document).read_text().splitlines()) <= MAX_LINES, document


def test_documents_link_to_files_that_exist() -> None:
    for document in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", *DOCS):
        links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / document).read_text())
        assert [link for link in links if not (ROOT / link).exists()] == [], document
