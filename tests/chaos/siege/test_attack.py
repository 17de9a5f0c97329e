"""The hostile neighbour comes from another address, is as patient as it says, and tells how its requests ended."""

from chaos.siege.attack import SOURCE, Assault, assaults, attacked, perform
from service.settings import Settings
from tests.service.stub import Reply, running_stub

REFUSED = Reply(429, b"", {"Connection": "close"})
REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_an_answer_is_told_by_its_status_and_asked_from_another_address() -> None:
    with running_stub(REFUSED) as server:
        assert perform(Assault("x", REQUEST), port_of(server.url)) == "429"
    assert server.clients == {SOURCE} != {"127.0.0.1"}


def test_who_is_not_answered_hangs_up() -> None:
    with running_stub() as server:
        server.ungated = 0
        assert perform(Assault("x", REQUEST, patience_s=0.05), port_of(server.url)) == "hung up"


def test_every_request_is_whole_and_within_the_limit_on_bodies() -> None:
    for assault in assaults():
        head, _, body = assault.request.partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n"), assault.name
        assert len(body) < Settings().max_body_bytes, assault.name


def test_an_attack_goes_on_until_its_block_ends_and_then_counts() -> None:
    with running_stub(REFUSED) as server, attacked(port_of(server.url), seed=1, clients=2) as ended:
        server.wait_for_requests(3)  # so one of the two has been answered
        assert not ended
    assert ended and set(ended) <= {"429", "no answer", "hung up"}
    assert server.clients == {SOURCE}
