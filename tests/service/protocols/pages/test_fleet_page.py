"""The fleet page in a browser, in front of a real fleet that a test breaks and mends."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from deploy.machine.control import Control
from tests.e2e.fleet import LocalFleet, local_fleet, wait_until
from tests.e2e.load import steady_load
from tests.service.protocols.pages.page import Page

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    with local_fleet(tmp_path_factory.mktemp("var")) as fleet:
        fleet.up(instances=2)
        wait_until("the reviver has looked", fleet.paths.programs_json.exists)
        yield fleet


@pytest.fixture
def fleet_page(blank_page: Page, fleet: LocalFleet) -> Page:
    blank_page.open(f"{fleet.url}/fleet")
    blank_page.wait_for_text("#headline", "2 of 2 instances answer")
    return blank_page


def row(page: Page, program: str) -> dict[str, str]:
    script = (
        f"Object.fromEntries([...document.querySelector('[data-key=\"local/{program}\"]').cells]"
        ".map((cell) => [cell.className.split(' ')[0], cell.innerText.trim()]))"
    )
    found: dict[str, str] = page.evaluate(script)
    return found


def figure(page: Page, program: str, name: str) -> float:
    """A number in a program's row; 0 while it shows none, as where one look came too late."""
    return float(row(page, program)[name] or 0)


def test_every_program_is_shown_with_what_it_does(fleet_page: Page, fleet: LocalFleet, picture: Path) -> None:
    assert row(fleet_page, "cpu0")["release"] == "dev"
    assert row(fleet_page, "cpu0")["device"] == "simulated"
    names = fleet_page.evaluate("[...document.querySelectorAll('tbody th')].map((cell) => cell.innerText)")
    assert sorted(names) == ["balancer", "cpu0", "cpu1", "reviver"]
    with steady_load(fleet.url, picture.read_bytes()) as load:
        load.wait_for_answers(50)
        fleet_page.wait_for(lambda: figure(fleet_page, "cpu0", "rate") > 0, "a rate")
        fleet_page.wait_for(lambda: figure(fleet_page, "cpu0", "p95") > 0, "a latency")
    fleet_page.wait("document.querySelector('[data-key=\"local/cpu0\"] polyline').getAttribute('points').includes(' ')")
    fleet_page.wait_for(lambda: float(fleet_page.text("#rate")) > 0, "a rate of the fleet")
    assert fleet_page.text("#failed") == "0"


def test_an_instance_that_stops_is_named_and_its_return_is_seen(fleet_page: Page, fleet: LocalFleet) -> None:
    with Control(fleet.paths) as control:
        control.stop("cpu1")
        fleet_page.wait_for_text("#headline", "1 of 2 instances answer")
        fleet_page.wait_for_text("#details", "cpu1 is STOPPED")
        assert fleet_page.evaluate("document.getElementById('verdict').dataset.state") == "bad"
        assert row(fleet_page, "cpu1")["state"] == "stopped, no answer"
        control.start("cpu1")
    fleet_page.wait_for_text("#headline", "2 of 2 instances answer")
    fleet_page.expected += ["502", "Failed to load"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_is_for_everybody(fleet_page: Page, scheme: str, width: int) -> None:
    fleet_page.emulate(width=width, scheme=scheme)
    assert fleet_page.evaluate("document.documentElement.scrollWidth") <= width
    fleet_page.evaluate(f"{AXE}; 0")
    found = fleet_page.evaluate("axe.run().then((result) => result.violations)")
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []


def test_the_verdict_says_on_which_host(blank_page: Page, url: str) -> None:
    blank_page.expected += ["404"]
    blank_page.open(f"{url}fleet")
    verdict = blank_page.evaluate("""(async () => {
      const { judge } = await import(document.querySelector('script').src.replace('fleet.js', 'fleet_verdict.js'));
      const recent = {p95_ms: 50, shed: 3};
      const instance = (state, status) => ({name: 'gpu0', state, status, isInstance: true});
      const balancer = {name: 'balancer', state: 'FATAL', status: null, isInstance: false};
      return judge({sloMs: 20, hosts: [
        {name: 'east', error: '', programs: [instance('RUNNING', null), balancer]},
        {name: 'west', error: '', programs: [instance('RUNNING', {recent})]},
        {name: 'south', error: 'answers 502', programs: []},
      ]});
    })()""")
    assert (verdict["state"], verdict["headline"]) == ("bad", "1 of 2 instances answer")
    assert verdict["details"].split(" · ") == [
        "host south: answers 502",
        "gpu0 on east is RUNNING, no answer",
        "balancer on east is FATAL",
        "gpu0 on west: p95 50 ms is over 20 ms",
        "gpu0 on west refused 3 requests",
    ]


def test_one_instance_without_a_balancer_shows_itself(blank_page: Page, url: str) -> None:
    blank_page.expected += ["404"]
    blank_page.open(f"{url}fleet")
    blank_page.wait_for_text("#headline", "1 of 1 instance answers")
