"""What does not fit together in an inventory, though every value is right by itself."""

import pytest

from deploy.describe.fleet_file import parse_inventory
from deploy.errors import SettingsError
from tests.deploy.inventories import ONE_HOST, hosts


def mode(name: str, *balancing: str) -> str:
    return f'[balancer]\nmode = "{name}"\nhosts = {list(balancing)}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "hosts: there is none; describe each machine under [[hosts]]", id="no host"),
        pytest.param(
            ONE_HOST + ONE_HOST + 'address = "other"\n',
            "hosts[0].name, hosts[1].name: all are 'h1'; give every host its own name",
            id="name twice",
        ),
        pytest.param(
            ONE_HOST + '[[hosts]]\nname = "h2"\naddress = "h1"\n',
            "hosts[0].address, hosts[1].address: all are 'h1'; give every host its own address",
            id="address twice",
        ),
        pytest.param(
            f"[ports]\nfirst = 9000\n{ONE_HOST}",
            "ports.first: 9000 is above ports.last, 8164; lower it or raise ports.last",
            id="ports",
        ),
        pytest.param(
            f"[balancer]\nport = 8102\n{ONE_HOST}",
            "balancer.port: 8102 lies within the instance ports 8101-8164; move it, or ports.first and ports.last",
            id="balancer among instances",
        ),
        pytest.param(
            f'[tls]\ncertificate = "/c"\nkey = "/k"\nport = 80\n{ONE_HOST}',
            "tls.port: 80 is balancer.port too; choose another, such as 443",
            id="tls port",
        ),
        pytest.param(
            f'[balancer]\nport = 443\n[tls]\ncertificate = "/c"\nkey = "/k"\n{ONE_HOST}',
            "balancer.port: 443 is tls.port too; balancer.port is that of plain HTTP; "
            "choose another for it, such as 80",
            id="HTTPS on both",
        ),
        pytest.param(
            "[ports]\nfirst = 1\nlast = 65535\n[balancer]\nport = 443\n"
            f'[tls]\ncertificate = "/c"\nkey = "/k"\n{ONE_HOST}',
            "balancer.port: 443 lies within the instance ports 1-65535; move it, or ports.first and ports.last\n"
            "tls.port: 443 lies within the instance ports 1-65535; move it, or ports.first and ports.last\n"
            "balancer.port: 443 is tls.port too; balancer.port is that of plain HTTP; choose another for it",
            id="HTTPS on both, all others an instance's",
        ),
        pytest.param(
            "[ports]\nfirst = 60\nlast = 90\n[balancer]\nport = 443\n"
            f'[tls]\ncertificate = "/c"\nkey = "/k"\n{ONE_HOST}',
            "balancer.port: 443 is tls.port too; balancer.port is that of plain HTTP; "
            "choose another for it, such as 8080",
            id="HTTPS on both, 80 an instance's",
        ),
        pytest.param(
            f'[ports]\nfirst = 400\nlast = 460\n[tls]\ncertificate = "/c"\nkey = "/k"\nport = 80\n{ONE_HOST}',
            "tls.port: 80 is balancer.port too; choose another, such as 8443",
            id="tls port, 443 an instance's",
        ),
        pytest.param(
            "[balancer]\nport = 8103\n[ports]\nlast = 8102\n" + hosts("cpu = 3"),
            "hosts[0].cpu: 3 instances exceed the ports 8101-8102; "
            "move ports.first and ports.last to 3 free ones, or run fewer",
            id="no room before the balancer",
        ),
        pytest.param(
            "[ports]\nfirst = 65534\nlast = 65535\n" + hosts("cpu = 3"),
            "hosts[0].cpu: 3 instances exceed the ports 65534-65535; "
            "move ports.first and ports.last to 3 free ones, or run fewer",
            id="no ports above",
        ),
        pytest.param(
            hosts("gpus = [0, 1, 2]\ninstances_per_gpu = 30"),
            "hosts[0].instances_per_gpu: 90 instances are more than a host may have; run 64 at most",
            id="more than any ports",
        ),
        pytest.param(
            mode("edge", "h1", "h2") + hosts("gpus = []", "gpus = []"),
            "hosts: all balance, and none has an instance; add a host with GPUs or cpu",
            id="edges alone",
        ),
        pytest.param(
            mode("one", "h1") + '[[hosts]]\nname = "h1"\ngpus = []\n' + hosts("", "cpu = 1").partition("\n\n")[2],
            "hosts[0].address: 'h1' is no IPv4 address, by which the other hosts' instances would let it in; "
            "write one, or name who may connect in settings.allow",
            id="one by name",
        ),
        pytest.param(
            f'[keys]\nfile = "/etc/keys"\n{ONE_HOST}',
            "keys.own: missing: a deploy asks each new instance about a picture, and needs a key for that; "
            "write one of the keys into a file for root alone, and name it",
            id="keys without the host's own",
        ),
        pytest.param(
            f'[keys]\nown = "/etc/own"\n{ONE_HOST}',
            "keys.own: there are no keys without keys.file; name that too, or leave this out",
            id="own key without keys",
        ),
        pytest.param(
            f'[settings]\nkeys = "/etc/keys"\n{ONE_HOST}',
            "settings.keys: all of a fleet's instances have the same; write [keys] with its file",
            id="keys as a setting",
        ),
        pytest.param(
            hosts("gpus = []"),
            "hosts[0].gpus: neither GPUs nor cpu: nothing would run; name GPUs, or set cpu = 1",
            id="no instance",
        ),
        pytest.param(
            "[ports]\nlast = 8102\n" + hosts("gpus = [0, 1]\ninstances_per_gpu = 2"),
            "hosts[0].instances_per_gpu: 4 instances exceed the ports 8101-8102; "
            "raise ports.last (64 instances at most), or run fewer",
            id="more instances than ports",
        ),
        pytest.param(
            "[ports]\nlast = 8102\n" + hosts("cpu = 3"),
            "hosts[0].cpu: 3 instances exceed the ports 8101-8102; "
            "raise ports.last (64 instances at most), or run fewer",
            id="more cpu instances than ports",
        ),
        pytest.param(
            mode("each", "h1") + ONE_HOST,
            'balancer.hosts: with mode "each" every host balances; leave it out, or change the mode',
            id="each with hosts",
        ),
        pytest.param(
            mode("one") + ONE_HOST,
            'balancer.hosts: mode "one" needs one host, not 0; write hosts = ["NAME"]',
            id="one without host",
        ),
        pytest.param(
            mode("edge") + ONE_HOST,
            'balancer.hosts: mode "edge" needs the hosts that balance; write hosts = ["NAME"]',
            id="edge without host",
        ),
        pytest.param(
            mode("edge", "h9") + hosts("cpu = 1"),
            "balancer.hosts: 'h9' is none of the hosts; there are: h1",
            id="unknown balancing host",
        ),
        pytest.param(
            mode("one", "h1") + hosts("cpu = 1", 'gpus = "auto"'),
            'hosts[1].gpus: "auto" cannot be counted from the balancing host; '
            'list them, or choose balancer.mode = "edge"',
            id="one cannot count",
        ),
        pytest.param(
            mode("one", "h1") + hosts("cpu = 1") + '[[hosts]]\nname = "h2"\ncpu = 1\n',
            "hosts[1].address: 'h2' is no IPv4 address; "
            'write the one its instances are to listen on, or choose balancer.mode = "edge"',
            id="one needs addresses",
        ),
        pytest.param(
            mode("edge", "h1", "h2") + hosts("gpus = []", "cpu = 1", "cpu = 1"),
            "hosts[1].gpus: of several balancing hosts none may have instances: they would send requests in circles; "
            "write gpus = [] and no cpu, or name one balancing host",
            id="circle",
        ),
        pytest.param(
            mode("edge", "h1") + hosts("gpus = []"),
            "hosts: none has an instance; give at least one GPUs or cpu",
            id="idle",
        ),
        pytest.param(
            mode("edge", "h1") + hosts("gpus = []", "cpu = 1\ndrained = true"),
            "hosts: every one with instances is drained; leave at least one undrained",
            id="all drained",
        ),
        pytest.param(
            f'[folders]\nrun = "/var/run/ff"\n{ONE_HOST}',
            "folders.run: /var/run/ff is not below /run; choose a folder that a boot empties",
            id="run folder",
        ),
        pytest.param(
            f'[folders]\nlog = "/var/lib/framefleet"\n{ONE_HOST}',
            "folders: /var/lib/framefleet is used twice; give each its own",
            id="folder twice",
        ),
    ],
)
def test_a_contradiction_is_told_with_its_path_and_fix(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_inventory(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(mode("one", "h1") + hosts('gpus = "auto"', "gpus = [0, 1]"), id="one, its own are auto"),
        pytest.param(mode("one", "h1") + hosts("gpus = []", "cpu = 1"), id="one without own instances"),
        pytest.param(mode("edge", "h1") + hosts("cpu = 1", 'gpus = "auto"'), id="edge with own instances"),
        pytest.param(mode("edge", "h1", "h2") + hosts("gpus = []", "gpus = []", "cpu = 1"), id="two edges"),
        pytest.param("[ports]\nfirst = 8101\nlast = 8102\n" + hosts("cpu = 2"), id="as many instances as ports"),
    ],
)
def test_what_fits_is_accepted(text: str) -> None:
    assert parse_inventory(text).hosts
