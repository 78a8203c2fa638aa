"""Headless Chromium over the WebDriver protocol (chromedriver), for tests of pages.

Debian's packages `chromium` and `chromium-driver` bring both; without them such tests are skipped.
"""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
_KEYS = {"Escape": "\ue00c", "ArrowRight": "\ue014", "ArrowLeft": "\ue012", "Enter": "\ue007"}
_STARTED_SECONDS = 30


class Browser:
    """One window."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self._session = ""

    def begin(self, profile: Path) -> None:
        """Open the window."""
        chrome = {
            "binary": shutil.which("chromium"),
            "args": [*_ARGUMENTS, f"--user-data-dir={profile}"],
        }
        wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def end(self) -> None:
        """Close it."""
        self._call("DELETE", self._session)

    def open(self, path: Path) -> None:
        """A page from disk."""
        self.post("/url", {"url": path.as_uri()})

    def js(self, script: str, *values):
        """What a script returns."""
        return self.post("/execute/sync", {"script": script, "args": list(values)})

    def press(self, *keys: str) -> None:
        """Keys, one after the other."""
        actions = [
            {"type": kind, "value": _KEYS.get(key, key)}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        self.post("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def resize(self, width: int, height: int) -> None:
        """The size of what is seen."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._cdp("Emulation.setDeviceMetricsOverride", metrics)

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._cdp("Emulation.setEmulatedMedia", {"features": [feature]})

    def complaints(self) -> list[str]:
        """What the console of the page has said since it was asked last."""
        return [entry["message"] for entry in self.post("/se/log", {"type": "browser"})]

    def shot(self, path: Path) -> None:
        """A picture of what is seen."""
        path.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    def post(self, path: str, body):
        """A command of this window."""
        return self._call("POST", self._session + path, body)

    def _cdp(self, command: str, parameters) -> None:
        self.post("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _call(self, method: str, path: str, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None


@contextmanager
def browser(profile: Path):
    """A window that is closed in the end; skips the test where there is no browser."""
    driver = shutil.which("chromedriver")
    if driver is None or shutil.which("chromium") is None:
        pytest.skip("no chromium and chromedriver here")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([driver, f"--port={port}"], stdout=quiet, stderr=quiet) as process:
        try:
            window = Browser(port)
            _wait(port)
            window.begin(profile)
            try:
                yield window
            finally:
                window.end()
        finally:
            process.terminate()


def _wait(port: int) -> None:
    end = time.monotonic() + _STARTED_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "chromedriver does not answer"
            time.sleep(0.05)
        else:
            return
