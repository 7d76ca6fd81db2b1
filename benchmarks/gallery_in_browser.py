"""Does the gallery work in a real browser?

A folder of photographs, a clip, a transparent picture, one with a hostile name and a file that is no picture is run
through a network that draws with a pencil. Its gallery is opened in Chromium, driven through the DevTools protocol as a
hand would: mouse, finger and keys. Prints what was checked; fails at the first thing that is not so.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import p2p_deploy
from p2p_deploy.demo import photos
from p2p_deploy.gallery import write_gallery
from p2p_deploy.options import LoadOptions
from p2p_deploy.spec import METADATA_KEY, ImageSpec, ModelSpec

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOSTILE = 'z"><script>document.title="taken"</script>\n.png'
GONE = "page.png"
DESKTOP, PHONE = (1280, 860), (390, 844)


def write_pencil(path: Path, size: int = 512) -> Path:
    """An ONNX file that draws: what is darker than its surroundings becomes a line, the colours are washed out."""
    import onnx
    from onnx import TensorProto as Kinds, helper, numpy_helper

    image = ImageSpec.for_channels(3)
    spec = ModelSpec("pencil and wash", "pencil", {}, (image,), image, 1, 1, (size, size), (size, size))
    reach = np.exp(-(np.arange(-10, 11) ** 2) / 50)
    blur = np.outer(reach, reach).astype(np.float32)[None, None]
    constants = {
        "luma": np.float32([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1),
        "blur": blur / blur.sum(),
        "one": np.float32(1),
        "zero": np.float32(0),
        "white": np.float32(255),
        "darker": np.float32(2.2),
        "pigment": np.float32(0.5),
        "paper": np.float32([0.97, 0.95, 0.9]).reshape(1, 3, 1, 1),
    }
    steps = [
        ("Cast", ["frames"], "f32", {"to": Kinds.FLOAT}),
        ("Transpose", ["f32"], "nchw", {"perm": [0, 3, 1, 2]}),
        ("Div", ["nchw", "white"], "x", {}),
        ("Conv", ["x", "luma"], "grey", {}),
        ("Pad", ["grey", "pads"], "padded", {"mode": "reflect"}),
        ("Conv", ["padded", "blur"], "soft", {}),
        ("Add", ["grey", "tiny"], "g", {}),
        ("Add", ["soft", "tiny"], "s", {}),
        ("Div", ["g", "s"], "ratio", {}),
        ("Clip", ["ratio", "zero", "one"], "light", {}),
        ("Pow", ["light", "darker"], "lines", {}),
        ("Sub", ["x", "paper"], "away", {}),
        ("Mul", ["away", "pigment"], "thin", {}),
        ("Add", ["thin", "paper"], "wash", {}),
        ("Mul", ["wash", "lines"], "drawn", {}),
        ("Mul", ["drawn", "white"], "levels", {}),
        ("Clip", ["levels", "zero", "white"], "clipped", {}),
        ("Transpose", ["clipped"], "nhwc", {"perm": [0, 2, 3, 1]}),
        ("Cast", ["nhwc"], "outputs", {"to": Kinds.UINT8}),
    ]
    constants["pads"] = np.array([0, 0, 10, 10, 0, 0, 10, 10], np.int64)
    constants["tiny"] = np.float32(0.06)
    ends = [helper.make_tensor_value_info(name, Kinds.UINT8, ["N", size, size, 3]) for name in ("frames", "outputs")]
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], **options) for kind, inputs, output, options in steps],
        "pencil",
        ends[:1],
        ends[1:],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_inputs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in photos.photos().values():
        shutil.copy(path, folder)
    for name in ("skimage/data/motorcycle_left.png", "skimage/data/page.png", "skimage/data/camera.png"):
        with contextlib.suppress(p2p_deploy.P2PError):
            shutil.copy(photos.locate("scikit-image", name), folder)
    shutil.copy(photos.clip(), folder)
    rows, columns = np.mgrid[:300, :400]
    disc = np.clip(140 - np.hypot(rows - 150, columns - 200), 0, 1) * 255
    cv2.imwrite(
        str(folder / "transparent.png"), np.dstack([rows % 256, columns % 256, 255 - rows % 256, disc]).astype(np.uint8)
    )
    shutil.copy(folder / "coffee.png", folder / HOSTILE.replace("/", ""))
    (folder / "not-a-picture.jpg").write_bytes(b"This is a text that somebody has named like a photograph.")


class Browser:
    """Chromium with one page, spoken to through two pipes."""

    def __init__(self, program: str, profile: Path) -> None:
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, to_write)]

        def as_3_and_4() -> None:  # where Chromium looks for them
            for end, number in zip(theirs, (3, 4), strict=True):
                os.dup2(end, number)

        options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run")
        self.process = subprocess.Popen(
            [program, *options, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(3, 4),
            preexec_fn=as_3_and_4,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_read, to_write, *theirs):
            os.close(end)
        self._numbers = itertools.count(1)
        self._rest = b""
        self.events: list[dict] = []
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def _message(self) -> dict:
        while b"\0" not in self._rest:
            data = os.read(self._read, 1 << 20)
            if not data:
                raise RuntimeError("Chromium has gone")
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        return json.loads(text)

    def open(self, page: Path) -> None:
        self.call("Page.navigate", url=page.absolute().as_uri())
        while self.ask("document.readyState") != "complete" or self.ask("location.protocol") != "file:":
            time.sleep(0.05)

    def ask(self, expression: str):
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def look(self, size: tuple[int, int], theme: str, *, phone: bool = False) -> None:
        width, height = size
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])

    def picture(self, path: Path) -> None:
        time.sleep(0.4)  # for what moves to come to rest; a page without scripts could not say
        shot = self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def mouse(self, kind: str, x: float, y: float, held: int = 0) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1)

    def click(self, selector: str) -> None:
        self.ask(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        left, top, width, height = self.box(selector)
        for kind, held in (("mousePressed", 1), ("mouseReleased", 0)):
            self.mouse(kind, left + width / 2, top + height / 2, held)

    def key(self, key: str) -> None:
        code = {"ArrowLeft": 37, "ArrowRight": 39, "Home": 36, "End": 35, "Escape": 27, "n": 78, "p": 80}.get(key, 0)
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)

    def box(self, selector: str) -> list[float]:
        return self.ask(
            f"(box => [box.left, box.top, box.width, box.height])"
            f"(document.querySelector({selector!r}).getBoundingClientRect())"
        )

    def close(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            self.call("Browser.close")
        self.process.wait(20)


def check(what: str, found, expected=True) -> None:
    """Print what is so, or leave."""
    if found != expected:
        sys.exit(f"NOT SO: {what}: expected {expected!r}, found {found!r}")
    print(f"  ok  {what}")


def slider(browser: Browser) -> float:
    return browser.ask("document.querySelector('#slider').valueAsNumber")


def check_page(browser: Browser, cards: int) -> None:
    check("every pair has a card", browser.ask("document.querySelectorAll('.grid button').length"), cards)
    pictures = "[...document.querySelectorAll('.grid img')]"
    check("every thumbnail is a picture", browser.ask(f"{pictures}.every(i => i.complete && i.naturalWidth > 0)"))
    check("the hostile name is text", browser.ask("document.title").endswith("before and after"))
    check("and made no element", browser.ask("document.scripts.length"), 1)
    check(
        "the failed file is listed", "not-a-picture.jpg" in browser.ask("document.querySelector('#failures').innerText")
    )
    check("nothing is wider than the window", browser.ask("document.documentElement.scrollWidth <= innerWidth"))


def check_mouse(browser: Browser) -> None:
    browser.click(".grid li:nth-child(1) button")
    check("a click opens the large view", browser.ask("document.querySelector('dialog').open"))
    check("with the slider in the middle", slider(browser), 50)
    large = "[...document.querySelectorAll('.frame img')]"
    check("and both pictures", browser.ask(f"{large}.every(i => i.complete && i.naturalWidth > 400)"))
    left, top, width, height = browser.box("#frame")
    check("inside the window", left >= 0 and top >= 0 and top + height <= DESKTOP[1] and left + width <= DESKTOP[0])
    browser.mouse("mousePressed", left + width / 2, top + height / 2, 1)
    for share in (0.4, 0.3, 0.2):
        browser.mouse("mouseMoved", left + width * share, top + height / 2, 1)
    check("the mouse drags it", slider(browser), 20)
    line = browser.box(".line")[0] + 1 - left
    check("and the line follows", abs(line - 0.2 * width) < 2)
    clip = browser.ask("getComputedStyle(document.querySelector('#after')).clipPath")
    check("so does the edge of the output", clip, "inset(0px 0px 0px 20%)")
    browser.mouse("mouseMoved", left - 100, top, 1)
    check("beyond the edge it stays at the end", slider(browser), 0)
    browser.mouse("mouseReleased", left - 100, top)
    browser.mouse("mouseMoved", left + width / 2, top + height / 2)
    check("released, it stays", slider(browser), 0)


def check_keys(browser: Browser) -> None:
    browser.key("End")
    check("End goes to the other end", slider(browser), 100)
    for _ in range(3):
        browser.key("ArrowLeft")
    check("an arrow key is one step", slider(browser), 97)
    check("which is said", browser.ask("document.querySelector('#slider').ariaValueText"), "97 % before")
    name = "document.querySelector('#name').textContent"
    first = browser.ask(name)
    browser.key("n")
    check("N shows the next pair", browser.ask(name) != first)
    browser.key("p")
    check("P the one before", browser.ask(name), first)
    browser.click("#next")
    check("so does the button", browser.ask(name) != first)
    browser.key("ArrowRight")
    check("and arrows go on to move the slider", slider(browser), 51)
    browser.click("#previous")
    check("and the other button", browser.ask(name), first)
    while browser.ask(name) != GONE:
        browser.key("n")
    check(
        "where the input is gone there is nothing to slide", browser.ask("document.querySelector('#slider').disabled")
    )
    check(
        "and the output is whole",
        browser.ask("getComputedStyle(document.querySelector('#after')).clipPath").split()[-1],
        "0%)",
    )
    while browser.ask(name) != first:
        browser.key("p")
    check("and from there keys lead back", slider(browser), 50)
    browser.key("Escape")
    check("Escape closes it", browser.ask("document.querySelector('dialog').open"), False)
    focused = browser.ask("[...document.querySelectorAll('.grid button')].indexOf(document.activeElement)")
    check("and the focus is back on the card", focused, 0)


def check_finger(browser: Browser) -> None:
    browser.click(".grid li:nth-child(2) button")
    left, top, width, height = browser.box("#frame")
    check("on a phone the large view fits", left >= 0 and left + width <= PHONE[0] and top + height <= PHONE[1])
    at = [{"x": left + width * share, "y": top + height / 2} for share in (0.5, 0.6, 0.7, 0.75)]
    browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=at[:1])
    for point in at[1:]:
        browser.call("Input.dispatchTouchEvent", type="touchMove", touchPoints=[point])
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    check("a finger drags the slider", slider(browser), 75)


def check_quiet(browser: Browser, page: Path) -> None:
    browser.call("Page.getFrameTree")  # whatever was under way has been heard of
    asked = {
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    }
    beyond = sorted(url[:80] for url in asked if not url.startswith("data:") and url != page.absolute().as_uri())
    check("nothing but the file itself was asked for", beyond, [])
    bad = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
    check("the console is empty", [event["params"] for event in browser.events if event["method"] in bad], [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder for the page and its screenshots")
    kept = parser.parse_args().keep
    program = next((found for found in map(shutil.which, NAMES) if found), None)
    if program is None:
        sys.exit(f"None of {', '.join(NAMES)} is installed.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shots = kept or folder
        shots.mkdir(parents=True, exist_ok=True)
        write_inputs(folder / "photographs")
        with p2p_deploy.load(write_pencil(folder / "pencil.onnx"), LoadOptions(device="cpu")) as model:
            summary = p2p_deploy.run(model, folder / "photographs", folder / "drawings")
            (folder / "photographs" / GONE).unlink()
            started = time.perf_counter()
            page = write_gallery(folder / "photographs", folder / "drawings", spec=model.spec)
        took = time.perf_counter() - started
        print(f"{summary.done} pairs, {page.stat().st_size / 1e6:.1f} MB in {took:.1f} s")
        if kept:
            page = Path(shutil.copy(page, kept))
        browser = Browser(program, folder / "profile")
        try:
            browser.look(DESKTOP, "light")
            browser.open(page)
            check_page(browser, summary.done)
            browser.picture(shots / "desktop-light.png")
            check_mouse(browser)
            check_keys(browser)
            browser.look(DESKTOP, "dark")
            browser.ask("scrollTo(0, 0)")
            browser.picture(shots / "desktop-dark.png")
            browser.click(".grid li:nth-child(4) button")
            browser.picture(shots / "viewer-dark.png")
            browser.look(DESKTOP, "light")
            browser.picture(shots / "viewer-light.png")
            browser.key("Escape")
            browser.ask("scrollTo(0, document.body.scrollHeight)")
            browser.picture(shots / "bottom-light.png")
            for theme in ("dark", "light"):
                browser.look(PHONE, theme, phone=True)
                browser.ask("scrollTo(0, 0)")
                browser.picture(shots / f"phone-{theme}.png")
            check("nothing is wider than a phone", browser.ask("document.documentElement.scrollWidth <= innerWidth"))
            check_finger(browser)
            browser.picture(shots / "phone-viewer-light.png")
            check_quiet(browser, page)
            browser.call("Emulation.setScriptExecutionDisabled", value=True)
            browser.call("Page.reload")
            time.sleep(1)
            browser.picture(shots / "phone-no-script.png")
        finally:
            browser.close()
    print("all as it should be")


if __name__ == "__main__":
    main()
