"""Whom each host's nginx asks, in the three modes."""

import pytest

from deploy.allowance import NO_LIMITS, Allowance
from deploy.files.render import render
from deploy.fleet import Peer
from tests.deploy.inventories import NO_GPU, expanded, hosts

THREE = hosts("cpu = 2", "cpu = 2", "cpu = 1")


def mode(name: str, *balancing: str) -> str:
    return f'[balancer]\nmode = "{name}"\nhosts = {list(balancing)}\n'


TLS = '[tls]\ncertificate = "/c.pem"\nkey = "/k.pem"\n'


@pytest.mark.parametrize("host", ["h1", "h2", "h3"])
def test_each_balances_over_its_own_instances_and_takes_clients(host: str) -> None:
    fleet = expanded(THREE + TLS, host, NO_GPU)
    assert (fleet.balancer.host, fleet.balancer.peers) == ("0.0.0.0", ())
    assert {instance.host for instance in fleet.instances} == {"127.0.0.1"}
    assert fleet.balancer.tls is not None


def test_one_balances_over_every_instance_of_the_others() -> None:
    fleet = expanded(mode("one", "h1") + THREE, "h1", NO_GPU)
    assert fleet.balancer.peers == (
        Peer("h2/0", "10.0.0.2", 8101, instance=True),
        Peer("h2/1", "10.0.0.2", 8102, instance=True),
        Peer("h3/0", "10.0.0.3", 8101, instance=True),
    )
    assert {instance.host for instance in fleet.instances} == {"127.0.0.1"}


def test_in_mode_one_the_others_instances_listen_for_it_and_their_nginx_for_themselves() -> None:
    fleet = expanded(mode("one", "h1") + THREE + TLS, "h2", NO_GPU)
    assert {instance.host for instance in fleet.instances} == {"10.0.0.2"}
    assert (fleet.balancer.host, fleet.balancer.peers, fleet.balancer.tls) == ("127.0.0.1", (), None)


def test_an_edge_balances_over_the_others_nginx_by_how_many_instances_they_have() -> None:
    fleet = expanded(mode("edge", "h1") + THREE, "h1", NO_GPU)
    assert fleet.balancer.peers == (Peer("h2", "10.0.0.2", 80, 2), Peer("h3", "10.0.0.3", 80, 1))


def test_behind_an_edge_nginx_takes_what_the_edge_sends() -> None:
    fleet = expanded(mode("edge", "h1") + THREE + TLS, "h2", NO_GPU)
    assert (fleet.balancer.host, fleet.balancer.peers, fleet.balancer.tls) == ("0.0.0.0", (), None)


@pytest.mark.parametrize(
    ("own", "weights"),
    [pytest.param("cpu = 2", [2, 2], id="like its own"), pytest.param("gpus = []", [1, 1], id="alike")],
)
def test_hosts_that_find_their_gpus_themselves_weigh_the_same(own: str, weights: list[int]) -> None:
    fleet = expanded(mode("edge", "h1") + hosts(own, 'gpus = "auto"', "cpu = 4"), "h1", NO_GPU)
    assert [peer.weight for peer in fleet.balancer.peers] == weights


def test_an_edge_waits_longer_than_the_nginx_behind_it() -> None:
    edge, behind = (expanded(mode("edge", "h1") + THREE, host, NO_GPU).balancer for host in ("h1", "h2"))
    assert edge.read_timeout_s > behind.read_timeout_s


@pytest.mark.parametrize("name", ["one", "edge"])
def test_drained_hosts_get_no_requests(name: str) -> None:
    text = mode(name, "h1") + hosts("cpu = 1", "cpu = 1\ndrained = true", "cpu = 1")
    by_file = expanded(text, "h1", NO_GPU).balancer
    by_order = expanded(text, "h1", NO_GPU, drained=["h1", "h3"]).balancer
    assert [peer.drained for peer in by_file.peers] == [True, False]
    assert [peer.drained for peer in by_order.peers] == [True, True]
    assert (by_file.drained, by_order.drained) == (False, True)


def test_a_host_that_nobody_stands_in_for_goes_on_serving() -> None:
    assert not expanded(hosts("cpu = 1\ndrained = true"), "h1", NO_GPU).balancer.drained


def test_only_who_takes_clients_limits_them() -> None:
    limits = "[limits]\nrate = 5\n"
    edge, behind = (expanded(mode("edge", "h1") + limits + THREE, host, NO_GPU).balancer for host in ("h1", "h2"))
    assert edge.allowance == Allowance(rate=5)
    assert behind.allowance == NO_LIMITS
    assert not edge.by_key


def allowed(text: str, host: str) -> set[str | None]:
    return {i.environment.get("FRAMEFLEET_ALLOW") for i in expanded(text, host, NO_GPU).instances}


def test_instances_on_their_hosts_address_let_in_its_own_tools_and_the_balancing_host_alone() -> None:
    one = mode("one", "h1") + THREE
    assert allowed(one, "h2") == {"127.0.0.1,10.0.0.2,10.0.0.1"}
    assert allowed(one, "h1") == {None}
    assert allowed(mode("edge", "h1") + THREE, "h2") == {None}
    assert allowed(one + '[settings]\nallow = "10.9.0.0/16"\n', "h2") == {"10.9.0.0/16"}


def test_behind_an_edge_a_client_is_who_the_edge_says_and_elsewhere_who_connects() -> None:
    for host, named in (("h1", False), ("h2", True)):
        fleet = expanded(mode("edge", "h1") + THREE, host, NO_GPU)
        texts = {file.path.name: file.text for file in render(fleet)}
        assert ("10.0.0.1 $http_x_real_ip;" in texts["clients.conf"]) is named
        variable = "$fleet_client_address" if named else "$remote_addr"
        assert f"proxy_set_header X-Real-IP {variable};" in texts["proxy.conf"]
