"""`make` hands on what it was given, as it was given; nothing else has a say in what it calls."""

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.checkout import ROOT, Checkout, checkout

MAKEFILE, HOST_MK = TEXTS = tuple((ROOT / name).read_text() for name in ("Makefile", "tools/host.mk"))
VALUES = [
    "it's my clip (1).mp4",
    "http://cam/x?n=3&token=x#t=1,2;touch pwned|touch pwned > pwned",
    "$(touch pwned) `touch pwned` $(shell touch pwned) ${HOME} $HOME $$ $ * ~ !! % ^ {a,b} [a-z] \\",
    'say "hello"  \tKamera Süd 北',
    "--help",
]
Expected = Callable[[str], tuple[str, ...]]


def last(value: str) -> tuple[str, ...]:
    return ("--", value)


def named(option: str) -> Expected:
    return lambda value: (f"{option}={value}",)


GIVEN: list[tuple[str, str, Expected]] = [
    ("detect", "VIDEO", last),
    ("detect", "URL", named("--url")),
    ("detect", "CACERT", named("--cacert")),
    ("detect", "VAR", lambda value: (f"--save={value}/detect.mp4",)),
    ("demo", "VIDEO", named("--video")),
    ("demo", "VAR", lambda value: (f"--out={value}/report",)),
    ("up", "VAR", named("--var")),
    ("up", "MODEL", named("--model")),
    ("up", "INSTANCES", named("--instances")),
    ("up", "CPUS", named("--cpus-per-instance")),
    ("up", "RATE", named("--rate")),
    ("tune", "VIDEO", named("--video")),
    ("tune", "MODEL", named("--model")),
    ("tune", "VAR", named("--var")),
    ("status", "VAR", named("--var")),
    ("smoke", "VAR", named("--var")),
    ("logs", "VAR", named("--var")),
    ("down", "VAR", named("--var")),
    ("key", "NAME", last),
    ("key", "KEYS", named("--file")),
    ("key", "SCOPES", named("--scopes")),
    ("model", "MODEL", last),
    ("model", "NAMES", named("--names")),
    ("model", "PLUGIN", named("--plugin")),
    ("engine", "MODEL", last),
    ("engine", "FRAMES", named("--frames")),
    ("bundle", "FLEET", named("--fleet")),
    ("bundle", "SIGN_KEY", named("--sign-key")),
    ("render", "FLEET", named("--fleet")),
    ("config-check", "FLEET", named("--fleet")),
    ("diff", "FLEET", named("--fleet")),
    ("deploy-fleet", "BUNDLE", named("--bundle")),
    ("rollback-fleet", "ONLY", named("--only")),
    ("rollback-fleet", "SSH_USER", named("--ssh-user")),
    ("drain", "HOST", lambda value: (value,)),
    ("undrain", "HOST", lambda value: (value,)),
    ("replay", "VIDEO", named("--video")),
    ("replay", "URL", named("--url")),
    ("replay", "CACERT", named("--cacert")),
    ("replay", "SECONDS", named("--seconds")),
    ("scenario", "VIDEO", named("--video")),
    ("scenario", "SCENARIO", lambda value: ("scenario", value)),
    ("load-ui", "URL", named("--url")),
    ("load-ui", "VIDEO", named("--video")),
    ("capacity", "BASELINE", named("--baseline")),
    ("capacity", "SLO_MS", named("--slo-ms")),
    ("plan", "P95_MS", named("--p95-ms")),
    ("plan", "VAR", lambda value: ("--", f"{value}/capacity/capacity.json")),
    ("setup", "PYTHON", named("--python")),
    ("setup", "VAR", named("--var")),
    ("scaling", "VAR", lambda value: (f"--out={value}/scaling",)),
    ("bench-peers", "ROUNDS", named("--rounds")),
    ("bench-peers", "TURN_S", named("--seconds")),
    ("chaos", "MINUTES", named("--minutes")),
]


@pytest.fixture
def here(tmp_path: Path) -> Checkout:
    made = checkout(tmp_path / "Acme, Inc (1)" / "it's")
    (made.folder / "build").mkdir()
    (made.folder / "build" / "framefleet-1.tar").touch()
    return made


def is_part(part: tuple[str, ...], whole: tuple[str, ...]) -> bool:
    return any(whole[start : start + len(part)] == part for start in range(len(whole)))


@pytest.mark.parametrize(("target", "variable", "expected"), GIVEN, ids=[f"{row[0]}-{row[1]}" for row in GIVEN])
def test_a_value_arrives_as_it_was_given(target: str, variable: str, expected: Expected, here: Checkout) -> None:
    for value in VALUES:
        call = here.called(target, f"{variable}={value}")
        assert is_part(expected(value), call), call
        assert sorted(path.name for path in here.folder.iterdir()) == [".venv", "Makefile", "build", "tools"]


def given(text: str) -> set[str]:
    """The names that a makefile says may be given."""
    found = re.search(r"^GIVEN := ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert found
    return set(found[1].replace("\\\n", " ").split())


@pytest.mark.parametrize("text", TEXTS, ids=["Makefile", "host.mk"])
def test_what_the_menu_speaks_of_and_recipes_use_may_be_given(text: str) -> None:
    spoken_of = set(re.findall(r"\b([A-Z][A-Z0-9_]*)=", "\n".join(re.findall(r"## (.*)", text))))
    used = set(re.findall(r"\$\(call (?:q|several),([A-Z0-9_]+)\)", text)) - {"MENU"}
    used |= set(re.findall(r"\$\(call option,[a-z0-9-]+,([A-Z0-9_]+)\)", text))
    assert spoken_of - given(text) == set()
    assert used == given(text)


@pytest.mark.parametrize("text", TEXTS, ids=["Makefile", "host.mk"])
def test_no_value_is_left_to_the_shell_as_it_is(text: str) -> None:
    asked_for = re.compile(r"\$\(if \$\([A-Z0-9_]+\)")
    defaults = re.compile(r"^\w+ \?= .*$", re.MULTILINE)  # quoted where they are used
    bare = set(re.findall(r"\$\(([A-Z0-9_]+)\)", asked_for.sub("", defaults.sub("", text))))
    assert bare & given(text) == set()


COMMON = {name: f"/from/the\nenvironment/{name}" for name in given(MAKEFILE)}


@pytest.mark.parametrize("target", sorted({target for target, _, _ in GIVEN} | {"certificate"}))
def test_the_environment_gives_no_value(target: str, here: Checkout) -> None:
    here.stand_in("bin/openssl")
    path = f"{here.folder / 'bin'}:/usr/bin:/bin"
    arguments = (target, "NAME=host") if target == "certificate" else (target,)
    plain = here.called(*arguments, PATH=path)
    assert here.called(*arguments, PATH=path, MAKEFLAGS="e", **COMMON) == plain
    assert [name for name, value in here.seen().items() if value == COMMON.get(name)] == []


def test_the_environment_says_nothing_to_a_deploy(here: Checkout) -> None:
    assert here.called("deploy", "BUNDLE=x.tar", **{**COMMON, "BUNDLE": "y.tar"})[1:] == ("x.tar",)
    assert (here.seen()["INSTALL"], here.seen()["PYTHON"]) == ("/opt/framefleet", "")


@pytest.fixture
def on_host(here: Checkout) -> Checkout:
    """An unpacked bundle, as far as its menu goes."""
    (here.folder / "tools/host.mk").replace(here.folder / "Makefile")
    here.stand_in("deploy.sh")
    return here


def test_a_hosts_menu_hands_values_on_as_they_were_given(on_host: Checkout) -> None:
    for value in VALUES:
        call = on_host.called("deploy", f"FLEET={value}", f"HOST={value}", f"INSTALL={value}", f"PYTHON={value}")
        assert call == ("./deploy.sh", f"--fleet={value}", f"--host={value}")
        assert (on_host.seen()["INSTALL"], on_host.seen()["PYTHON"]) == (value, value)
    on_host.stand_in("it's $x/current/bin/framefleet")
    assert on_host.called("drain", "INSTALL=it's $x", "HOST=a;b")[1:] == ("drain", "a;b")
    assert not (on_host.folder / "pwned").exists()


def test_the_environment_gives_a_hosts_menu_no_value(on_host: Checkout) -> None:
    assert on_host.called("deploy", **COMMON) == ("./deploy.sh",)
    assert (on_host.seen()["INSTALL"], on_host.seen()["PYTHON"]) == ("/opt/framefleet", "")


def test_what_python_and_shells_read_is_not_handed_on(here: Checkout) -> None:
    here.called("up", PYTHONPATH="/x", PYTHONHOME="/x", PYTHONWARNINGS="error", CDPATH="/x", BASH_ENV="/x", ENV="/x")
    seen = here.seen()
    assert {name for name in seen if name.startswith("PYTHON")} == {"PYTHONUTF8"}
    assert {"CDPATH", "BASH_ENV", "ENV", "MAKEFLAGS"} & seen.keys() == set()


def test_settings_and_keys_are_handed_on(here: Checkout) -> None:
    here.called("up", FRAMEFLEET_CONF="0.5", FLEET_API_KEY="a$b", PIP_INDEX_URL="http://index")
    seen = here.seen()
    assert (seen["FRAMEFLEET_CONF"], seen["FLEET_API_KEY"], seen["PIP_INDEX_URL"]) == ("0.5", "a$b", "http://index")


def test_keys_go_into_the_file_that_the_service_reads(here: Checkout) -> None:
    assert "--file=my keys/$x" in here.called("key", "NAME=a", FRAMEFLEET_KEYS="my keys/$x")
    assert "--file=other" in here.called("key", "NAME=a", "KEYS=other", FRAMEFLEET_KEYS="my keys/$x")


def test_tools_find_the_fleet_themselves_unless_they_are_told(here: Checkout) -> None:
    for target in ("detect", "replay", "scenario", "capacity", "load-ui", "demo"):
        assert [word for word in here.called(target, "VAR=my var") if word.startswith("--url")] == []
        assert "--var=my var" in here.called(target, "VAR=my var")
        assert "--url=http://127.0.0.1:9000" in here.called(target, "PORT=9000")
        assert "--url=http://cam:1" in here.called(target, "PORT=9000", "URL=http://cam:1")


def test_up_leaves_defaults_to_the_tool(here: Checkout) -> None:
    assert here.called("up")[1:] == ("-m", "deploy", "up", "--var=var")
    assert here.called("up", "PORT=", "MODEL=")[1:] == ("-m", "deploy", "up", "--var=var")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param("--resume", ("--resume",), id="one"),
        pytest.param("--a 1  --b 2", ("--a", "1", "--b", "2"), id="several"),
        pytest.param("--batch-ms '4 + 1.2n' --c \"it's\"", ("--batch-ms", "4 + 1.2n", "--c", "it's"), id="quoted"),
        pytest.param(
            "* ~ ; touch pwned & $(id) `id` $HOME #x",
            ("*", "~", ";", "touch", "pwned", "&", "$(id)", "`id`", "$HOME", "#x"),
            id="signs",
        ),
    ],
)
def test_arguments_are_told_apart_as_in_a_shell_and_not_run(value: str, words: tuple[str, ...], here: Checkout) -> None:
    assert here.called("scenario", f"ARGS={value}")[-len(words) :] == words
    assert here.called("capacity", f"ARGS={value}")[-len(words) :] == words
    assert here.called("test", f"TESTS={value}")[1:] == ("-m", "pytest", *words)
    assert here.called("plan", f"CAPACITY={value}")[-len(words) - 1 :] == ("--", *words)
    assert not (here.folder / "pwned").exists()


def test_one_file_may_have_any_name(here: Checkout) -> None:
    for name in ("it's my run (1)", "a; touch pwned"):
        (here.folder / name).touch()
        assert here.called("plan", f"CAPACITY={name}")[-2:] == ("--", name)
        assert here.called("test", f"TESTS={name}")[-1] == name


def test_words_that_cannot_be_told_apart_are_named(here: Checkout) -> None:
    done = here.make("plan", "CAPACITY=it's missing")
    assert done.returncode != 0
    assert "CAPACITY=it's missing: No closing quotation; put a quote" in done.stderr
    assert not here.calls.exists()


def test_a_folder_below_ones_home_may_be_named_as_in_a_shell(here: Checkout) -> None:
    assert (
        here.called("detect", "VIDEO=~/it's $x/~/clip.mp4", HOME="/home/o'neil $y")[-1]
        == "/home/o'neil $y/it's $x/~/clip.mp4"
    )
    assert here.called("detect", "VIDEO=~other/clip.mp4")[-1] == "~other/clip.mp4"


def test_a_line_break_is_refused(here: Checkout) -> None:
    done = here.make("up", "VAR=a\ntouch pwned")
    assert done.returncode != 0 and "VAR= has a line break" in done.stderr
    assert not (here.folder / "pwned").exists()


def test_tests_run_without_the_slow_ones_unless_some_are_named(here: Checkout) -> None:
    assert here.called("test")[1:] == ("-m", "pytest", "-m", "not slow")
    assert here.called("test", "TESTS=tests/e2e/test_kills.py")[1:] == ("-m", "pytest", "tests/e2e/test_kills.py")


def test_a_deploy_names_what_was_given(here: Checkout) -> None:
    value = "it's a; bundle $x"
    call = here.called("deploy", f"BUNDLE={value}", f"FLEET={value}", "HOST=a b", f"INSTALL={value}", f"PYTHON={value}")
    assert call[1:] == (value, f"--fleet={value}", "--host=a b")
    assert (here.seen()["INSTALL"], here.seen()["PYTHON"]) == (value, value)


def test_without_a_bundle_deploy_fleet_says_so(here: Checkout) -> None:
    assert "--bundle=build/framefleet-1.tar" in here.called("deploy-fleet")
    (here.folder / "build" / "framefleet-1.tar").unlink()
    done = here.make("deploy-fleet")
    assert done.returncode != 0 and "run `make bundle` first" in done.stderr


def test_what_a_host_runs_is_called_where_it_is_installed(here: Checkout) -> None:
    here.stand_in("it's $x/current/bin/framefleet")
    assert here.called("rollback", "INSTALL=it's $x") == ("it's $x/current/bin/framefleet", "rollback")


def test_a_certificate_is_made_for_any_folder(here: Checkout) -> None:
    done = here.make("certificate", "NAME=edge1", "ADDRESS=127.0.0.4", "VAR=it's; mine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].rstrip() == "it's; mine/tls/fullchain.pem it's; mine/tls/key.pem"
    shown = [
        "openssl",
        "x509",
        "-noout",
        "-ext",
        "subjectAltName",
        "-in",
        str(here.folder / "it's; mine/tls/fullchain.pem"),
    ]
    assert "DNS:edge1, IP Address:127.0.0.4" in subprocess.run(shown, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("127.0.0.1", "IP Address:127.0.0.1"),
        ("::1", "IP Address:0:0:0:0:0:0:0:1"),
        ("*.example", "DNS:*.example"),
        (f"{'a' * 60}.example", f"DNS:{'a' * 60}.example"),
    ],
)
def test_a_certificate_holds_the_name_that_is_asked_for(name: str, holds: str, here: Checkout) -> None:
    done = here.make("certificate", f"NAME={name}")
    assert done.returncode == 0, done.stderr
    shown = ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", str(here.folder / "var/tls/fullchain.pem")]
    found = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    assert found.splitlines()[-1].strip() == holds


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "NAME= is missing"),
        (("NAME=a,IP:10.0.0.1",), "NAME=a,IP:10.0.0.1 is no host's name; write one"),
        (("NAME=a/O=b",), "NAME=a/O=b is no host's name; write one"),
        (("NAME=a b",), "NAME=a b is no host's name; write one"),
        (("NAME=a", "ADDRESS=b"), "ADDRESS=b is no address; write one"),
        (("NAME=a", "VAR=Makefile"), "Makefile is no folder; choose another"),
    ],
)
def test_a_certificate_that_nobody_could_use_is_not_made(arguments: tuple[str, ...], what: str, here: Checkout) -> None:
    done = here.make("certificate", *arguments)
    assert done.returncode != 0
    assert done.stderr.startswith(f"certificate: {what}"), done.stderr
    assert not (here.folder / "var").exists()


NEEDS_NOTHING = {"help", "setup", "dev", "rollback", "undeploy", "certificate", "clean"}
SETS_UP = {"demo", "up"}
SETS_UP_DEV = {
    "deploy-fleet",
    "rollback-fleet",
    "drain",
    "undrain",
    "test",
    "test-slow",
    "test-hosts",
    "lint",
    "format",
    "lock",
    "audit",
}
TARGETS = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("what", ["nothing", "half", "dangling"])
def test_before_set_up_every_target_says_so(what: str, here: Checkout) -> None:
    python = here.folder / ".venv/bin/python"
    if what == "nothing":
        python.unlink()
    if what == "dangling":
        python.unlink()
        python.symlink_to("/no/such/python")
    if what != "dangling":
        (here.folder / ".venv/installed-lock").unlink()
    for target in sorted(set(TARGETS) - NEEDS_NOTHING - SETS_UP - SETS_UP_DEV):
        done = here.make(target, "ARGS=x")
        assert done.returncode != 0, target
        assert "run `make setup` first" in done.stderr and len(done.stderr.splitlines()) == 1, target
    assert not here.calls.exists()
    assert here.called("setup")[1:] == ("--var=var",)
    assert here.called("deploy", "BUNDLE=x.tar")[1:] == ("x.tar",)


@pytest.mark.parametrize("target", sorted(SETS_UP | SETS_UP_DEV))
def test_what_a_newcomer_types_first_sets_up_what_it_needs(target: str, here: Checkout) -> None:
    setup = here.folder / "tools/setup.sh"
    setup.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >>{shlex.quote(str(here.calls))}\nexit 3\n')
    done = here.make(target, "VAR=some where", "PYTHON=python9")
    assert done.returncode != 0
    for_whom = ["--dev"] if target in SETS_UP_DEV else ["--var=some where"]
    assert here.calls.read_text().splitlines() == ["--quick", *for_whom, "--python=python9"]


def test_the_menu_lists_every_target_and_needs_nothing(here: Checkout) -> None:
    (here.folder / ".venv/installed-lock").unlink()
    done = here.make(VAR="x", MAKEFLAGS="-j8")
    assert re.findall(r"^  make ([a-z-]+) ", done.stdout, re.MULTILINE) == TARGETS
    assert done.stderr == ""


def test_clean_leaves_set_up_models_and_reports(here: Checkout) -> None:
    (here.folder / "var").mkdir()
    done = here.make("clean")
    assert done.returncode == 0, done.stderr
    assert not (here.folder / "build").exists()
    assert (here.folder / "var").exists() and (here.folder / ".venv/installed-lock").exists()


def test_a_dry_run_shows_the_command_alone(here: Checkout) -> None:
    done = here.make("-n", "detect", "VIDEO=it's mine")
    assert (
        done.stdout == ".venv/bin/python -m framefleet.client --var='var'  --save='var'/detect.mp4 -- 'it'\\''s mine'\n"
    )
    assert not here.calls.exists()


def test_a_demo_looks_at_its_video_before_it_starts_a_fleet(here: Checkout) -> None:
    assert here.called("demo")[1:5] == ("-m", "deploy", "exec", "--check")
