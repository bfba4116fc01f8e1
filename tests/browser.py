"""A headless Chromium for tests, driven by the DevTools protocol over two pipes: no port, no driver program."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
    *("--disable-features=Translate,OptimizationHints,MediaRouter", "--hide-scrollbars", "--mute-audio"),
    *("--remote-debugging-pipe", "--host-resolver-rules=MAP *.example 127.0.0.1"),
)
# Key → (code, Windows' number of it); other keys are characters.
_KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Tab": ("Tab", 9, ""),
    "Escape": ("Escape", 27, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "End": ("End", 35, ""),
}


def program() -> str | None:
    """Where Chromium is."""
    return shutil.which("chromium")


class BrowserError(AssertionError):
    """What the browser refused, or a script that threw."""


class Browser:
    """One browser with one page."""

    def __init__(self, profile: Path) -> None:
        found = program()
        assert found, "chromium is missing: apt-get install chromium (just setup does it)"
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The browser reads from 3 and writes to 4.
        script = 'exec 3<&"$0" 4>&"$1"; shift; exec "$@"'
        arguments = ["bash", "-c", script, str(theirs_in), str(theirs_out), found, *FLAGS]
        self._process = subprocess.Popen(
            [*arguments, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile)},
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer = b""
        self._number = 0
        self._session = ""
        self.complaints: list[str] = []
        """What the page wrote to the console, broke of its policy, or threw."""
        self.requested: list[str] = []
        """Every address that was asked for."""
        self._session = self.call("Target.attachToTarget", targetId=self._page(), flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.size(1280, 800)

    def _page(self) -> str:
        """The first page; the browser takes commands before there is one."""
        end = time.monotonic() + 60
        while True:
            for one in self.call("Target.getTargets")["targetInfos"]:
                if one["type"] == "page":
                    return str(one["targetId"])
            if time.monotonic() > end:
                raise BrowserError("the browser opens no page")
            time.sleep(0.03)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError, BrowserError):
            self._session = ""
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        # Those of its processes that are still there would write into the profile while it is removed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
        os.close(self._in)
        os.close(self._out)

    # --- the protocol ---

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its answer."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next(60)
            if found.get("id") == number:
                if "error" in found:
                    raise BrowserError(f"{method}: {found['error'].get('message')}")
                return found["result"]

    def _next(self, timeout: float) -> dict[str, Any]:
        end = time.monotonic() + timeout
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise BrowserError(f"the browser has said nothing for {timeout} s")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise BrowserError("the browser has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, about: dict[str, Any]) -> None:
        if method == "Log.entryAdded":
            entry = about["entry"]
            self.complaints.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"{about['type']}: {[one.get('value') for one in about['args']]}")
        elif method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.complaints.append(f"thrown: {details.get('exception', {}).get('description') or details['text']}")
        elif method == "Network.requestWillBeSent":
            self.requested.append(about["request"]["url"])

    # --- the page ---

    def go(self, url: str) -> None:
        """Open an address."""
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return the value of an expression, or of a promise."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(str(found["exceptionDetails"].get("exception", {}).get("description")))
        return found["result"].get("value")

    def wait(self, script: str, timeout: float = 60.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with contextlib.suppress(BrowserError):
                if self.run(f"!!({script})"):
                    return
            time.sleep(0.03)
        text = self.run("document.body ? document.body.innerText.slice(0, 2000) : '(nothing)'")
        raise BrowserError(f"timed out waiting for {script}\nthe page says:\n{text}\nand: {self.complaints}")

    def text(self, selector: str = "body") -> str:
        """What the first such element says."""
        return str(self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def size(self, width: int, height: int, scale: float = 1) -> None:
        """Set the window's size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def dark(self, dark: bool) -> None:
        """Prefer dark or light."""
        value = "dark" if dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def press(self, *keys: str, shift: bool = False, control: bool = False) -> None:
        """Press keys, one after the other."""
        modifiers = (8 if shift else 0) + (2 if control else 0)
        for key in keys:
            code, number, text = _KEYS.get(key, ("", ord(key.upper()) if len(key) == 1 and key.isalnum() else 0, key))
            same = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
            self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **same)
            self.call("Input.dispatchKeyEvent", type="keyUp", **same)

    def type(self, text: str) -> None:
        """Type text."""
        for char in text:
            self.press("Enter" if char == "\n" else char)

    def screenshot(self, path: Path) -> None:
        """Write a picture of what is seen."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser for the time of a ``with`` block."""
    with tempfile.TemporaryDirectory(prefix="mdb-", dir="/var/tmp", ignore_cleanup_errors=True) as profile:
        found = Browser(Path(profile))
        try:
            yield found
        finally:
            found.close()
