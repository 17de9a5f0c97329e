"""A picture that instances die of is refused after three, whoever asks; its neighbours are not, whoever wants it."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
import requests

from service.errors import DeadlineExceeded, MalformedBody, Overloaded, Quarantined
from service.safeguards.in_work import ENGINE, Doubt, InWork, shared_table
from service.safeguards.quarantine import FILE, Case, Quarantine, host_secret
from tests.instance import running_instance, stop_instance
from tests.service import faulty_engine
from tests.service.held import picture

WORKER = "tests.service.workers.FaultyWorker"
POISON, GOOD = b"poison", b"good"
SECRET = 7


class Host:
    """Instances that share a folder, and a clock that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0.0
        self.meanwhile: list[Callable[[], None]] = []

    def instance(self, table_fd: int | None = None) -> Quarantine:
        return Quarantine(
            self.folder, InWork(table_fd), secret=SECRET, expiry_s=100, clock=lambda: self.now, sleep=self.sleep
        )

    def digest(self, picture: bytes) -> bytes:
        return self.instance().digest(picture)

    def sleep(self, seconds: float) -> None:
        """What other masters note meanwhile is what `meanwhile` does."""
        if self.meanwhile:
            self.meanwhile.pop()()

    def die_of(self, *pictures: bytes) -> None:
        """A worker ends while it decodes them all; its master, another process, looks at what it left."""
        table = shared_table()
        master, worker = self.instance(table), self.instance(table)
        worker.in_work.begin(ENGINE, [Case(worker, [worker.digest(one)], [b""]).mark(0) for one in pictures])
        master.blame()
        os.close(table)
        for file in self.folder.iterdir():
            os.utime(file, (self.now, self.now))

    def deaths(self, picture: bytes) -> int:
        return len(self.instance().record(self.digest(picture)))

    def refused(self, picture: bytes) -> bool:
        with self.instance().watch([picture]) as case:
            try:
                case.check(0)
            except Quarantined:
                return True
        return False


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "quarantine")


def test_a_picture_is_let_in_at_two_deaths_and_refused_at_three(host: Host) -> None:
    refused = []
    for _ in range(4):
        refused.append(host.refused(POISON))
        host.die_of(POISON)
    assert refused == [False, False, False, True]
    assert not host.refused(GOOD)


def test_a_suspect_waits_until_a_death_of_this_moment_is_noted(host: Host) -> None:
    host.die_of(POISON)
    host.die_of(POISON)
    host.meanwhile = [lambda: host.die_of(POISON)]
    assert host.refused(POISON)


def test_suspects_are_worked_on_one_after_the_other_and_nobody_else_waits(host: Host) -> None:
    host.die_of(POISON, GOOD)
    instance = host.instance()
    order: list[bytes] = []

    def work(picture: bytes) -> None:
        with instance.watch([picture]) as case:
            order.append(picture)
            case.close(0, "an answer")

    with instance.watch([POISON]):
        second = Thread(target=work, args=(GOOD,))
        second.start()
        work(b"no suspect")
        assert order == [b"no suspect"]
    second.join(30)
    assert order == [b"no suspect", GOOD]


def test_nobody_waits_for_a_picture_without_a_death(host: Host) -> None:
    host.meanwhile = [lambda: pytest.fail("waited")]
    assert not host.refused(GOOD)


@pytest.mark.parametrize(
    ("outcome", "acquitted"),
    [
        ("an answer", True),
        (MalformedBody("broken"), True),
        (Overloaded("full"), False),
        (DeadlineExceeded("late"), False),
        (Quarantined("refused"), False),
    ],
    ids=["answered", "refused as broken", "shed", "late", "quarantined"],
)
def test_only_a_picture_that_was_dealt_with_is_acquitted(host: Host, outcome: object, acquitted: bool) -> None:
    host.die_of(POISON, GOOD)
    with host.instance().watch([GOOD]) as case:
        case.close(0, outcome)
    assert host.deaths(GOOD) == (0 if acquitted else 1)
    assert host.deaths(POISON) == 1


def test_a_disk_at_fault_costs_no_picture_its_answer(host: Host) -> None:
    host.die_of(POISON)
    # What cannot be read as a file cannot be removed as one either.
    (host.folder / host.digest(GOOD).hex()).mkdir()
    with host.instance().watch([GOOD, POISON]) as case:
        case.check(0)
        case.close(0, "an answer")
    host.instance().acquit(host.digest(GOOD))
    assert host.deaths(GOOD) == 0


def test_an_answer_acquits_of_a_death_that_came_meanwhile_elsewhere(host: Host) -> None:
    with host.instance().watch([GOOD]) as case:
        host.die_of(GOOD)
        case.close(0, "an answer")
    assert host.deaths(GOOD) == 0


def test_deaths_in_company_alone_never_have_a_picture_refused(host: Host) -> None:
    for number in range(10):
        host.die_of(GOOD, str(number).encode())
    assert not host.refused(GOOD)


def test_what_never_died_alone_is_let_in_where_it_cannot_be_alone(host: Host) -> None:
    # Else whoever keeps the decoders busy would have it refused all the same, with 503.
    marks = []
    for company in ((b"one",), (b"two",), ()):
        host.die_of(GOOD, *company)
        with host.instance().watch([GOOD]) as case:
            marks.append(case.mark(0))
    assert [mark.doubt for mark in marks] == [Doubt.FIRST, Doubt.SHARED, Doubt.OWN]


def test_the_first_death_may_be_in_company(host: Host) -> None:
    host.die_of(POISON, GOOD)
    host.die_of(POISON)
    assert not host.refused(POISON)
    host.die_of(POISON)
    assert host.refused(POISON) and not host.refused(GOOD)


def test_only_what_is_decoded_in_that_moment_is_blamed_and_not_the_rest_of_its_form(host: Host) -> None:
    table = shared_table()
    worker, master = host.instance(table), host.instance(table)
    with worker.watch([b"before", POISON, b"after"]) as case:
        assert master.blame() == 0
        with case.decoding(0):
            pass
        with case.decoding(1):
            assert master.blame() == 1
    assert [host.deaths(one) for one in (b"before", POISON, b"after")] == [0, 1, 0]
    os.close(table)


def test_a_hang_is_no_fault_of_what_was_being_decoded(host: Host) -> None:
    table = shared_table()
    worker, master = host.instance(table), host.instance(table)
    with worker.watch([POISON, GOOD]) as case:
        worker.in_work.begin(ENGINE, [case.mark(0)])
        with case.decoding(1):
            assert master.blame(engine_alone=True) == 1
    assert [host.deaths(one) for one in (POISON, GOOD)] == [1, 0]
    os.close(table)


def test_a_suspect_that_was_acquitted_while_it_waited_keeps_nobody_out(host: Host) -> None:
    host.die_of(GOOD)
    instance = host.instance()
    host.meanwhile = [lambda: host.instance().acquit(host.digest(GOOD))]
    with instance.watch([GOOD]) as case, instance.watch([GOOD]):
        assert not case.mark(0).alone


def test_deaths_are_forgotten_after_a_while(host: Host) -> None:
    for _ in range(3):
        host.die_of(POISON)
    host.now = 99.0
    assert host.refused(POISON)
    host.now = 100.0
    assert not host.refused(POISON)
    host.die_of(GOOD)
    assert [file.name for file in host.folder.iterdir()] == [host.digest(GOOD).hex()]


def test_what_an_earlier_release_named_by_sha_256_is_forgotten_too(host: Host) -> None:
    host.die_of(POISON)
    old = host.folder / ("ab" * 32)
    old.write_bytes(b"+++")
    os.utime(old, (0, 0))
    host.now = 100.0
    host.die_of(GOOD)
    assert [file.name for file in host.folder.iterdir()] == [host.digest(GOOD).hex()]


def test_another_host_has_another_name_for_the_same_picture(host: Host) -> None:
    assert host.digest(GOOD) != Quarantine(None, secret=SECRET + 1).digest(GOOD)


def test_without_a_folder_nothing_is_noted_and_nothing_refused(tmp_path: Path) -> None:
    quarantine = Quarantine(None)
    with quarantine.watch([POISON]) as case, case.decoding(0):
        case.check(0)
        assert quarantine.blame() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault", [faulty_engine.CRASH, faulty_engine.HANG, faulty_engine.FAULT], ids=["crash", "hang", "sticky fault"]
)
def test_real_instances_die_of_a_picture_three_times_and_then_refuse_it(
    fault: int, free_port: Callable[[], int], tmp_path: Path
) -> None:
    poison = picture(fault)
    settings = {"watchdog_s": 0.5, "self_test_s": 0, "quarantine": tmp_path / "shared", "cache": tmp_path}
    for _ in range(3):
        with running_instance(free_port(), "-", tmp_path / "log", WORKER, **settings) as instance:
            with pytest.raises(requests.ConnectionError):
                requests.post(f"{instance.url}/v1/detect", poison, timeout=30)
            assert instance.process.wait(30) in (70, 71)
    with running_instance(free_port(), "-", tmp_path / "log", WORKER, **settings) as instance:
        answer = requests.post(f"{instance.url}/v1/detect", poison, timeout=30)
        assert (answer.status_code, answer.json()["code"]) == (422, "quarantined")
        assert poison.hex() not in instance.log.read_text()


def test_a_good_picture_in_one_form_and_one_batch_with_what_real_instances_die_of_is_not_refused(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    good, poison = picture(7), picture(faulty_engine.CRASH)
    settings = {"self_test_s": 0, "quarantine": tmp_path / "shared"}
    for _ in range(3):
        with running_instance(free_port(), "-", tmp_path / "log", WORKER, **settings) as instance:
            with pytest.raises(requests.ConnectionError):
                files = [("image", one) for one in (good, poison, good)]
                requests.post(f"{instance.url}/v1/detect", files=files, timeout=30)
            assert instance.process.wait(30) == 70
    with running_instance(free_port(), "-", tmp_path / "log", WORKER, **settings) as instance:
        answers = [requests.post(f"{instance.url}/v1/detect", one, timeout=30) for one in (poison, good)]
        assert [answer.status_code for answer in answers] == [422, 200]
    name = Quarantine(None, secret=host_secret(tmp_path / "shared")).digest(poison).hex()
    files = {file.name for file in (tmp_path / "shared").iterdir() if not file.suffix}
    assert files == {name, FILE}


def test_a_stop_or_a_killed_idle_worker_blames_nobody(free_port: Callable[[], int], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    with running_instance(free_port(), "-", tmp_path / "log", WORKER, quarantine=shared) as instance:
        stop_instance(instance)
    with running_instance(free_port(), "-", tmp_path / "log", WORKER, quarantine=shared) as instance:
        os.kill(instance.worker_pid(), signal.SIGKILL)
        assert instance.process.wait(30) == 70
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert "pictures_blamed" not in {event["event"] for event in events}
    assert {file.name for file in shared.iterdir()} == {"tested.listening", FILE}
