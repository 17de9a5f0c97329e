"""Runs a real headless Chromium and talks to it over its DevTools protocol."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import websocket

LIMIT_S = 60
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--allow-pre-commit-input",  # else clicks and keys before the first paint are dropped
    "--remote-debugging-port=0",
)


def chromium() -> str | None:
    """Where Chromium is, None where it is missing."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def wait_until(condition: Callable[[], Any], what: Callable[[], str], limit_s: float = LIMIT_S) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"never: {what()}"
        time.sleep(0.03)
    return value


class Connection:
    """Commands with their answers, and the events that came meanwhile."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(url, timeout=LIMIT_S, suppress_origin=True)
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (message := json.loads(self._socket.recv())).get("id") != number:
            self.events.append(message)
        assert "error" not in message, f"{method}: {message['error']}"
        answer: dict[str, Any] = message["result"]
        return answer

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Tab:
    """A tab's `connection`, and the browser's name of its `context`."""

    connection: Connection
    context: str


class Browser:
    """One running Chromium."""

    def __init__(self, endpoint: str) -> None:
        self._host = endpoint.split("/")[2]
        self._connection = Connection(endpoint)

    @contextmanager
    def tab(self) -> "Iterator[Tab]":
        """A tab of its own context: no cache, no permissions, no storage of others."""
        context = self._connection.call("Target.createBrowserContext")["browserContextId"]
        target = self._connection.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        connection = Connection(f"ws://{self._host}/devtools/page/{target}")
        try:
            yield Tab(connection, context)
        finally:
            connection.close()
            self._connection.call("Target.disposeBrowserContext", browserContextId=context)

    def set_permission(self, tab: "Tab", name: str, setting: str) -> None:
        """Decides what the person would be asked: `setting` is granted or denied."""
        permission = {"name": name}
        self._connection.call(
            "Browser.setPermission", permission=permission, setting=setting, browserContextId=tab.context
        )

    def close(self) -> None:
        with suppress(websocket.WebSocketException, OSError):
            self._connection.call("Browser.close")
        self._connection.close()


@contextmanager
def running_browser(executable: str, folder: Path, *flags: str) -> Iterator[Browser]:
    """A Chromium with a new profile; its whole process group is gone afterwards."""
    profile = folder / "profile"
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [executable, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(folder)},
            start_new_session=True,
        )
    try:
        browser = Browser(_endpoint(process, profile, folder / "chromium.log"))
        try:
            yield browser
        finally:
            browser.close()
    finally:
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _endpoint(process: "subprocess.Popen[bytes]", profile: Path, log: Path) -> str:
    port_file = profile / "DevToolsActivePort"

    def port() -> str | None:
        assert process.poll() is None, f"Chromium ended with {process.returncode}:\n{log.read_text()}"
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        return lines[0] if len(lines) > 1 else None

    found = wait_until(port, lambda: f"Chromium's port:\n{log.read_text()}")
    version = requests.get(f"http://127.0.0.1:{found}/json/version", timeout=LIMIT_S)
    return str(version.json()["webSocketDebuggerUrl"])
