"""Clients that keep sending pictures from several threads and note every answer that is not right."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from tests.e2e.fleet import direct_session, wait_until

PACE_S = 0.005


class SteadyLoad:
    """What the clients saw so far: good answers by instance, and failures in words."""

    def __init__(self, url: str, picture: bytes, *, keep_alive: bool = True) -> None:
        self._url, self._picture = f"{url}/v1/detect", picture
        self._headers = {} if keep_alive else {"Connection": "close"}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.good: Counter[str] = Counter()
        self.failures: list[str] = []
        self._sent: Counter[int] = Counter()

    def run(self) -> None:
        with direct_session() as session:
            while not self._stop.is_set():
                self._send(session)
                self._sent[threading.get_ident()] += 1
                time.sleep(PACE_S)

    def stop(self) -> None:
        self._stop.set()

    def wait_for_answers(self, count: int) -> None:
        """Waits until the clients got that many more good answers."""
        target = self.good.total() + count
        wait_until(f"{count} more answers", lambda: self.good.total() >= target)

    def wait_for_everybody(self) -> None:
        """Waits until each client has sent a request after this call and got its answer."""
        target = {client: count + 2 for client, count in self._sent.copy().items()}
        wait_until("an answer for each", lambda: all(self._sent[client] >= count for client, count in target.items()))

    def _send(self, session: requests.Session) -> None:
        began = time.monotonic()
        try:
            answer = session.post(self._url, data=self._picture, headers=self._headers, timeout=40)
            failure = "" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"
            instance = answer.headers.get("X-Instance", "")
        except requests.RequestException as error:
            failure, instance = repr(error), ""
        with self._lock:
            if failure:
                self.failures.append(f"{failure} after {time.monotonic() - began:.3f} s")
            else:
                self.good[instance] += 1


@contextmanager
def steady_load(url: str, picture: bytes, clients: int = 4, *, keep_alive: bool = True) -> Iterator[SteadyLoad]:
    """Clients at work for as long as the block lasts."""
    load = SteadyLoad(url, picture, keep_alive=keep_alive)
    threads = [threading.Thread(target=load.run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop()
        for thread in threads:
            thread.join(30)
