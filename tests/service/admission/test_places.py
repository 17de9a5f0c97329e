"""How the places in an instance are shared out."""

from service.admission.ledger import MANY_CLIENTS, THERE_S, Places


def filled(places: Places, client: str) -> int:
    """Takes single places until there are no more; how many it got."""
    count = 0
    while places.take(client, 1):
        count += 1
    return count


def test_a_lone_client_has_all_places() -> None:
    assert filled(Places(32, lambda: 0.0), "one") == 32


def test_who_comes_when_another_has_all_finds_some() -> None:
    places = Places(32, lambda: 0.0)
    filled(places, "first")
    assert filled(places, "second") == 8


def test_two_clients_come_to_hold_the_same() -> None:
    places = Places(32, lambda: 0.0)
    held = {"first": filled(places, "first"), "second": filled(places, "second")}
    for _ in range(100):
        places.give_back("first", 1)
        held["first"] -= 1
        for client in ("first", "second"):
            held[client] += places.take(client, 1)
    assert held == {"first": 20, "second": 20}


def test_who_is_between_two_frames_keeps_a_share_and_who_has_gone_does_not() -> None:
    now = 0.0
    places = Places(32, lambda: now)
    assert places.take("second", 1)
    places.give_back("second", 1)
    assert filled(places, "first") == 20
    now = THERE_S
    assert filled(places, "first") == 12


def test_a_form_that_needs_more_than_a_share_is_let_in_alone() -> None:
    places = Places(32, lambda: 0.0)
    for client in ("a", "b", "c", "d"):
        assert places.take(client, 5)
    assert places.take("form", 16)
    assert not places.take("form", 16)


def test_a_form_is_let_in_alone_beside_the_place_that_its_request_holds() -> None:
    places = Places(32, lambda: 0.0)
    for client in ("a", "b", "c", "d"):
        assert places.take(client, 5)
    assert places.take("form", 1)
    assert places.take("form", 15, beside=1)
    assert not places.take("form", 1)


def test_what_is_given_back_is_there_again() -> None:
    places = Places(4, lambda: 0.0)
    for _ in range(10):
        assert places.take("one", 4)
        places.give_back("one", 4)
    assert places.taken == 0


def test_clients_that_are_gone_leave_nothing_behind() -> None:
    now = 0.0
    places = Places(32, lambda: now)
    for number in range(3 * MANY_CLIENTS):
        now += THERE_S
        assert places.take(str(number), 1)
        places.give_back(str(number), 1)
    assert len(places._seen) <= MANY_CLIENTS + 1
