"""One tab with the demo page: what a person does in it, and what they see."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.service.protocols.pages.browser import LIMIT_S, Tab, wait_until

KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39}
DETECT = "/v1/detect?"


class Page:
    """Opened with `open`; `expected` are words of console messages that a test provokes."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        self.call = tab.connection.call
        self.expected: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network", "DOM", "Audits"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self.emulate()

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && document.getElementById('not-started') === null")

    def evaluate(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str, limit_s: float = LIMIT_S) -> Any:
        """Evaluates until the value is true."""
        return wait_until(
            lambda: self.evaluate(script), lambda: f"{script}\n{self.text('main')}\n{self.problems()}", limit_s
        )

    def text(self, selector: str) -> str:
        """What can be read in an element; nothing where it is hidden."""
        return str(
            self.evaluate(f"(e => e.checkVisibility() ? e.innerText : '')(document.querySelector({selector!r}))")
        )

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        wait_until(condition, lambda: f"{what}\n{self.text('main')}\n{self.problems()}")

    def wait_for_text(self, selector: str, words: str) -> None:
        self.wait_for(lambda: words in self.text(selector), f"{words!r} in {selector}")

    def visible(self, selector: str) -> bool:
        return bool(self.evaluate(f"document.querySelector({selector!r}).checkVisibility()"))

    def focused(self) -> str:
        """The id, class or words of the element that has the keyboard; nothing where none has."""
        return str(
            self.evaluate(
                "(e => e === document.body ? '' : e.id || e.className || e.textContent || e.value)"
                "(document.activeElement)"
            )
        )

    def click(self, selector: str) -> None:
        """Clicks with the mouse, where the element is."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def middle(self, selector: str) -> Sequence[float]:
        """Where the middle of an element is, once it is in view."""
        point: list[float] = self.evaluate(
            f"(() => {{ const e = document.querySelector({selector!r}); e.scrollIntoView({{block: 'center'}});"
            " const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        return point

    def press(self, key: str) -> None:
        text = {"Enter": "\r", " ": " "}.get(key, "")
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def tab_to(self, element_id: str) -> None:
        for _ in range(60):
            if self.focused() == element_id:
                return
            self.press("Tab")
        raise AssertionError(f"the Tab key never reaches {element_id}; it is at {self.focused()}")

    def choose(self, path: Path) -> None:
        """What choosing a file in the dialog does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def drop(self, path: Path) -> None:
        """Drops a file onto the stage."""
        x, y = self.middle("#stage")
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def paste(self, path: Path) -> None:
        """Pastes a picture; the real clipboard of a headless browser takes no JPEG."""
        data = base64.b64encode(path.read_bytes()).decode()
        self.evaluate(
            f"(() => {{ const bytes = Uint8Array.from(atob('{data}'), (c) => c.charCodeAt(0));"
            " const clipboardData = new DataTransfer();"
            " clipboardData.items.add(new File([bytes], 'image.jpg', {type: 'image/jpeg'}));"
            " document.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true})); })()"
        )

    def slide(self, name: str, value: float) -> None:
        self.evaluate(
            f"(() => {{ const e = document.getElementById({name!r}); e.value = {value};"
            " e.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def emulate(self, *, width: int = 1280, height: int = 900, scheme: str = "light", motion: str = "reduce") -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": motion}
        named = [{"name": name, "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def hide(self, hidden: bool) -> None:
        """Tells the page whether its tab is out of sight; headless tabs never are."""
        self.evaluate(
            f"Object.defineProperty(document, 'hidden', {{configurable: true, value: {str(hidden).lower()}}});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        """The parameters of the events of one kind so far."""
        self.evaluate("0")  # takes in those that wait
        return [event["params"] for event in self.tab.connection.events if event["method"] == name]

    def asked(self) -> list[str]:
        """The queries of the detections asked for so far."""
        urls = [str(sent["request"]["url"]) for sent in self.events("Network.requestWillBeSent")]
        return [url.partition(DETECT)[2] for url in urls if DETECT in url]

    def problems(self) -> list[str]:
        """What went wrong: errors and warnings of the console, exceptions, policy violations; unless expected."""
        self.evaluate("0")
        found = [text for event in self.tab.connection.events if (text := _problem(event))]
        return [text for text in found if not any(words in text for words in self.expected)]

    def screenshot(self, path: Path) -> None:
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(picture["data"]))


def _problem(event: dict[str, Any]) -> str:
    params = event.get("params", {})
    if event["method"] == "Runtime.exceptionThrown":
        return str(params["exceptionDetails"])
    if event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
        return str(params["args"])
    if event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
        return f"{params['entry']['text']} {params['entry'].get('url', '')}"
    if event["method"] == "Audits.issueAdded" and "ContentSecurityPolicy" in params["issue"]["code"]:
        return str(params["issue"])
    return ""
