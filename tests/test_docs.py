"""The documents say what the code does."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.describe.fleet_file import parse_inventory
from deploy.describe.local import FleetOptions
from deploy.guard.listener import ACCESS_LOG_BYTES
from service import errors, problems
from service.settings import PREFIX, settings_table
from service.settings_page import settings_page

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
MAX_LINES = 250
FIRST_SCREEN = 45
DOCS = (
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))),
)
FENCED = re.compile(r"^```[a-z]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOLDERS = "bench|chaos|deploy|docs|framefleet|loadtest|lock|service|tests|tools"


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


def prose(document: str) -> str:
    """Without what stands in code blocks."""
    return FENCED.sub("", text_of(document))


def code(document: str) -> list[str]:
    """Code blocks, and code within lines."""
    return [*FENCED.findall(text_of(document)), *re.findall(r"`([^`\n]+)`", prose(document))]


def anchors(document: Path) -> set[str]:
    """What GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def targets(makefile: str) -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", text_of(makefile), re.MULTILINE))


def broken_links(document: str) -> Iterator[str]:
    here = ROOT / document
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = here.parent / file if file else here
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def test_the_settings_page_is_made_from_the_code() -> None:
    assert text_of("docs/settings.md") == settings_page(), "run the command that stands in its third line"


@pytest.mark.parametrize("document", DOCS)
def test_links_lead_to_files_and_headings_that_exist(document: str) -> None:
    assert list(broken_links(document)) == []


@pytest.mark.parametrize("document", DOCS)
def test_every_row_of_a_table_has_as_many_cells_as_its_head(document: str) -> None:
    for table in re.findall(r"(?:^\|.*\n)+", prose(document), re.MULTILINE):
        counts = {row: len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(set(counts.values())) == 1, counts


@pytest.mark.parametrize("document", DOCS)
def test_paths_of_the_repository_exist(document: str) -> None:
    named = {path for text in code(document) for path in re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./*-]+", text)}
    # A sentence may end behind a path, and `NAME` stands for whatever the reader has.
    paths = {path.rstrip(".") for path in named}
    assert [path for path in sorted(paths) if not any(ROOT.glob(path.replace("NAME", "*")))] == []


@pytest.mark.parametrize("document", DOCS)
def test_commands_are_there(document: str) -> None:
    texts = code(document)
    made = {name for text in texts for name in re.findall(r"\bmake ([a-z][a-z-]+)", text)}
    assert made - targets("Makefile") - targets("tools/host.mk") == set()
    modules = {
        name for text in texts for name in re.findall(r"python -m ((?:service|deploy|loadtest|chaos)[\w.]*)", text)
    }
    files = [ROOT / name.replace(".", "/") for name in modules]
    assert [path for path in files if not (path.with_suffix(".py").exists() or (path / "__main__.py").exists())] == []


@pytest.mark.parametrize("document", DOCS)
def test_variables_are_settings(document: str) -> None:
    known = {row.variable for row in settings_table()} | {f"{PREFIX}HOSTS_CACHE"}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", text_of(document))) - known == set()


@pytest.mark.parametrize("document", DOCS)
def test_no_package_index_is_named_by_its_address(document: str) -> None:
    assert re.findall(r"pypi\.\w+|index-url|find-links", text_of(document)) == []


def test_readme_names_every_make_target() -> None:
    assert [target for target in sorted(targets("Makefile")) if f"`make {target}" not in README] == []


def test_readme_lists_every_error_code() -> None:
    ours = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    of_nginx = re.findall(r'^    \w+ "([a-z_]+)";$', text_of("deploy/nginx/snippets/problems.conf.j2"), re.MULTILINE)
    codes = ours | {*problems.CODES.values(), *of_nginx, problems.OTHER_CODE}
    assert len(codes) > len(problems.CODES)
    assert [name for name in sorted(codes) if f"`{name}`" not in README] == []


def test_readme_says_what_it_is_and_how_to_begin_on_its_first_screen() -> None:
    top = "\n".join(README.splitlines()[:FIRST_SCREEN])
    wanted = (
        "**For**",
        "**Not for**",
        "**Run on**",
        "make demo",
        "@var/frame.jpg",
        "make model",
        "Where next",
    )
    assert [words for words in wanted if words not in top] == []


def test_files_that_readme_sends_are_there_after_set_up() -> None:
    inputs = re.findall(r"(?:@|VIDEO=)(var/[\w./-]+)", "\n".join(FENCED.findall(README)))
    assert inputs
    assert [path for path in inputs if not (ROOT / path).exists()] == [], "run `make setup`"


def test_readme_and_the_menu_give_the_defaults_of_make_up() -> None:
    default = FleetOptions(var=Path())
    defaults = {"INSTANCES": default.instances, "PORT": default.port, "INSTANCE_PORT": default.instance_port}
    told = re.findall(r"^make up (INSTANCES=.*)$", README, re.MULTILINE)
    told += re.findall(r"^up: ## (.*)$", text_of("Makefile"), re.MULTILINE)
    assert [dict(re.findall(r"\b([A-Z_]+)=(\d+)", line)) for line in told] == 2 * [
        {name: str(value) for name, value in defaults.items()}
    ]


def test_figures_of_the_demo_are_those_of_the_benchmarks() -> None:
    measured = re.findall(r"\*\*Demo\*\*.*?\n\n", text_of("docs/benchmarks.md"), re.DOTALL)[0]
    p50, p95 = re.findall(r"latency \(scheduled\)\s+([\d.]+)\s+([\d.]+)", README)[0]
    assert f"p50 {p50} ms, p95 {p95} ms" in " ".join(measured.split())


def test_ci_runs_the_commands_that_readme_gives() -> None:
    commands = re.findall(r"^make .*$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert commands
    assert [command for command in commands if command not in README] == []


def test_documents_can_be_read_in_one_sitting() -> None:
    for document in ("README.md", "ARCHITECTURE.md"):
        assert len(text_of(document).splitlines()) <= MAX_LINES, document


def test_every_verb_of_the_command_line_is_explained_somewhere() -> None:
    command = (sys.executable, "-m", "deploy", "--help")
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    verbs = set(re.findall(r"^    ([a-z-]+)(?: {2,}|$)", shown, re.MULTILINE))
    assert len(verbs) > len(("deploy", "rollback"))
    everything = "\n".join(text for document in DOCS for text in code(document))
    pattern = r"(?:make|framefleet|python -m deploy) {}(?![\w-])"
    # `exec` is how `make demo` starts and stops its fleet.
    unsaid = [verb for verb in sorted(verbs - {"exec"}) if not re.search(pattern.format(verb), everything)]
    assert [verb for verb in unsaid if not verb.endswith("-fleet")] == []


def test_operate_lists_every_metric() -> None:
    names = {
        name
        for module in ("service/pipeline/metrics.py", "service/pipeline/gpu.py", "deploy/guard/listener.py")
        for name in re.findall(r"[\"' ]((?:framefleet|nv)_[a-z_]+)[\"'{ ]", text_of(module))
    }
    assert len(names) > len(("requests", "gpu", "programs"))
    assert [name for name in sorted(names) if f"`{name}" not in text_of("docs/operate.md")] == []


def test_operate_gives_the_size_that_logs_reach() -> None:
    template = text_of("deploy/supervisor/instance.conf.j2")
    size, old = (int(re.findall(rf"stdout_logfile_{name}=(\d+)", template)[0]) for name in ("maxbytes", "backups"))
    each, access = size * (1 + old), 2 * ACCESS_LOG_BYTES // 10**6
    others = 3 * each + access
    text = " ".join(text_of("docs/operate.md").split())
    assert f"That is {others} MB and {each} MB for each instance: {others + 8 * each} MB with eight." in text


def test_operate_gives_the_ports_of_the_defaults() -> None:
    tls = '[tls]\ncertificate = "/c.pem"\nkey = "/k.pem"\n'
    inventory = parse_inventory(f'{tls}[[hosts]]\nname = "h"\ncpu = 1\n')
    text = text_of("docs/operate.md")
    assert inventory.balancing.tls
    assert f"`balancer.port` ({inventory.balancing.port})" in text
    assert f"`tls.port` ({inventory.balancing.tls.port})" in text
    assert f"({inventory.first_port} to {inventory.last_port})" in text


def test_gpu_packages_have_the_versions_of_the_extra() -> None:
    pinned = set(re.findall(r'^    "([\w-]+==[\d.]+)",$', text_of("pyproject.toml"), re.MULTILINE))
    named = set(re.findall(r"[\w-]+==[\d.]+", text_of("docs/gpu-host.md")))
    assert named and named <= pinned
