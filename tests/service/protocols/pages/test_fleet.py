"""The page behind a balancer: who answered is seen, and a stopped instance costs nothing that is not tried again."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.instance import running_instance
from tests.service.protocols.pages.page import Page

NGINX = shutil.which("nginx")
PREFIX = "/eyes/"


@contextmanager
def balancer(port: int, folder: Path, instances: list[int]) -> Iterator[str]:
    """An nginx that gives each request to the next instance, under a path of its own."""
    servers = " ".join(f"server 127.0.0.1:{instance};" for instance in instances)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}} http {{ access_log off;"
        f" client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;"
        f" uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; upstream fleet {{ {servers} }}"
        f" server {{ listen 127.0.0.1:{port}; location {PREFIX} {{ proxy_pass http://fleet/; }} }} }}"
    )
    process = subprocess.Popen([str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"])
    try:
        yield f"http://127.0.0.1:{port}{PREFIX}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.skipif(NGINX is None, reason="no nginx on this machine; apt-get install nginx-light")
def test_instances_behind_a_balancer_are_seen_to_share_the_work(
    blank_page: Page, free_port: Callable[[], int], clip: Path, tmp_path: Path
) -> None:
    ports = [free_port(), free_port()]
    with (
        running_instance(ports[0], "simulated:a_ms=1", tmp_path / "0", instance="gpu0"),
        running_instance(ports[1], "simulated:a_ms=1", tmp_path / "1", instance="gpu1"),
        balancer(free_port(), tmp_path, ports) as url,
    ):
        blank_page.wait_for(lambda: answers(url), "nginx")
        blank_page.open(url)
        blank_page.choose(clip)
        blank_page.wait_for_text("#instances-note", "2 instances share the last 100 answers.")
        names = blank_page.evaluate("[...document.querySelectorAll('#instances .name')].map((e) => e.textContent)")
        shares = blank_page.evaluate(
            "[...document.querySelectorAll('#instances .share')].map((e) => parseInt(e.textContent))"
        )
        assert names == ["gpu0", "gpu1"]
        assert sum(shares) == 100 and min(shares) > 25
        assert f"{url}v1/detect" in blank_page.text("#curl")
        blank_page.click("#close")


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}livez", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False
