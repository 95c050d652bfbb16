"""A headless Chromium for tests of pages, driven over its DevTools protocol; without one, tests skip and say so."""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import subprocess
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

T = TypeVar("T")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SWITCHES = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--hide-scrollbars", "--no-default-browser-check", "--password-store=basic"),
)
START_S, ANSWER_S = 60.0, 60.0


def chromium() -> str:
    """The browser's path.

    Raises:
        pytest.skip.Exception: there is none.
    """
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (on Debian: apt-get install chromium)")
    return found


class Tab:
    """One page. What went wrong in it is in ``errors``, what it asked a network for in ``asked``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._loop, self._socket = loop, socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.errors: list[str] = []
        self.asked: list[str] = []
        asyncio.run_coroutine_threadsafe(self._listen(), loop)

    async def _listen(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
                continue
            method, values = said["method"], said.get("params", {})
            if method == "Runtime.exceptionThrown":
                self.errors.append(str(values["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled" and values["type"] in ("error", "warning"):
                self.errors.append(str(values["args"]))
            elif method == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
                self.errors.append(str(values["entry"]))
            elif method == "Network.requestWillBeSent":
                self.asked.append(values["request"]["url"])

    def call(self, method: str, **values: Any) -> dict[str, Any]:
        """A command of the protocol, and its result."""
        return _on(self._loop, self._call(method, values))

    async def _call(self, method: str, values: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        future = self._waiting[number]
        await self._socket.send_json({"id": number, "method": method, "params": values})
        said = await asyncio.wait_for(future, ANSWER_S)
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    def js(self, expression: str) -> Any:
        """The value of an expression, awaited."""
        said = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def wait(self, expression: str, seconds: float = 30.0) -> None:
        """Until an expression is true."""
        until = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < until, f"not true in {seconds} s: {expression}; {self.errors}"
            time.sleep(0.05)

    def open(self, url: str, drawn: bool = True) -> None:
        """Go to a page, and wait until its figures are drawn."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")
        if drawn:
            self.wait("document.documentElement.dataset.drawn === 'all'")

    def point(self, kind: str, x: float, y: float) -> None:
        """A mouse event: ``mouseMoved``, ``mousePressed``, ``mouseReleased``."""
        button = "none" if kind == "mouseMoved" else "left"
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def click(self, x: float, y: float) -> None:
        """Move there, press and release."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.point(kind, x, y)

    def key(self, name: str) -> None:
        """Press a key and let it go."""
        text = "\r" if name == "Enter" else ""
        code = {"Enter": 13, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37}[name]
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if kind == "keyDown" and text else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code, **more)

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self, path: Path) -> None:
        """The page as it is printed."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))


@contextmanager
def browser(folder: Path, width: int = 1280, height: int = 900) -> Iterator[Tab]:
    """A browser with one empty tab; ``folder`` gets its profile."""
    process = subprocess.Popen(
        [chromium(), *SWITCHES, f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    try:
        port = _port(process, folder / "DevToolsActivePort")
        session, socket = _on(loop, _connect(port))
        tab = Tab(loop, socket)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.call(f"{domain}.enable")
        yield tab
        _on(loop, session.close())
    finally:
        process.terminate()
        process.wait(20)
        loop.call_soon_threadsafe(loop.stop)


def _port(process: subprocess.Popen[bytes], path: Path) -> int:
    until = time.monotonic() + START_S
    while not (path.is_file() and "\n" in path.read_text()):
        assert process.poll() is None, f"the browser ended with {process.returncode}"
        assert time.monotonic() < until, "the browser doesn't start"
        time.sleep(0.05)
    return int(path.read_text().split("\n")[0])


async def _connect(port: int) -> tuple[aiohttp.ClientSession, aiohttp.ClientWebSocketResponse]:
    session = aiohttp.ClientSession()
    async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
        tabs = await answer.json()
    where = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
    return session, await session.ws_connect(where, max_msg_size=0)


def _on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(ANSWER_S + 5)
