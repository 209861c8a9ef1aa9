"""The page as a browser shows it: headless Chromium, with a film in the place of a camera."""

import base64
import io
import json
import math
import time

import numpy as np
import pytest
from PIL import Image

from tests.browser import headless_chromium
from tests.serving.conftest import MODELS, file_of

pytestmark = pytest.mark.slow
PATIENCE = 20  # seconds
STATUS = "document.getElementById('status').textContent"
FOUND = "[...document.querySelectorAll('.panel .found')].map(e => e.textContent)"
FACTS = "[...document.querySelectorAll('.panel .facts')].map(e => e.textContent)"
POSES = "[...document.querySelectorAll('.panel .poses li')].map(e => e.textContent)"
INPUTS = "document.querySelectorAll('#models input')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory, astronaut):
    frame, film = Image.new("RGB", (640, 480)), io.BytesIO()
    frame.paste(Image.fromarray(astronaut).resize((480, 480)), (80, 0))
    frame.save(film, "JPEG", quality=90)
    folder = tmp_path_factory.mktemp("browser")
    (folder / "camera.mjpeg").write_bytes(film.getvalue() * 10)
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    flags.append(f"--use-file-for-fake-video-capture={folder / 'camera.mjpeg'}")
    with headless_chromium(folder / "profile", *flags) as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    """Opens the page at a width, and waits for its models."""

    def visit(width=1280, dark=False):
        browser.visit(server.address, width, dark)
        until(browser, f"{INPUTS}.length === {len(MODELS)}")
        return browser

    return visit


@pytest.fixture
def file(tmp_path, photograph):
    path = tmp_path / "astronaut.jpg"
    path.write_bytes(photograph)
    return path


def until(browser, expression):
    """Waits until a JavaScript expression in the page is true."""
    end = time.monotonic() + PATIENCE
    while not browser.run(expression):
        assert time.monotonic() < end, (expression, browser.run(STATUS), browser.complaints)
        time.sleep(0.03)


def choose(browser, path):
    document = browser.ask("DOM.getDocument")["root"]["nodeId"]
    field = browser.ask("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    browser.ask("DOM.setFileInputFiles", nodeId=field, files=[str(path)])


def until_shown(browser, panels=1):
    """Waits until so many panels show results."""
    until(browser, f"{FACTS}.filter(Boolean).length === {panels}")


def compare_both(browser, path):
    """Shows both models' results of a photograph."""
    browser.run(f"{INPUTS}[1].click()")
    choose(browser, path)
    until_shown(browser, 2)


def pixels(browser, panel=0):
    """What a panel's canvas shows, (H, W, 3)."""
    canvas = f"document.querySelectorAll('.panel canvas')[{panel}]"
    data = browser.run(f"{canvas}.toDataURL('image/png').split(',')[1]")
    return np.array(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def toggle(browser, name):
    browser.run(f"document.querySelector('#shown [name={name}]').click()")


def test_the_page_opens_without_warnings_and_other_servers(page, server):
    browser = page()
    assert browser.complaints == []
    assert all(address.startswith(server.address) for address in browser.requested)
    assert browser.run(STATUS) == "Choose a photograph."
    assert browser.run(f"[...{INPUTS}].map(e => [e.value, e.checked])") == [[MODELS[0], True], [MODELS[1], False]]
    unlabelled = """[...document.querySelectorAll('input, button')]
        .filter(e => !(e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)"""
    assert browser.run(unlabelled) == []


def test_a_photograph_shows_its_face_and_what_is_asked_for(page, file, astronaut, server, photograph):
    browser = page()
    choose(browser, file)
    until_shown(browser)
    assert browser.run(FOUND) == ["1 face"]
    pose = server.landmarks(photograph)[1]["faces"][0]["pose"]
    assert browser.run(POSES) == [", ".join(f"{name} {math.floor(angle + 0.5)}°" for name, angle in pose.items())]
    assert browser.run(STATUS).startswith(f"astronaut.jpg: {MODELS[0]}: 1 face in ")
    assert browser.run("document.querySelector('.panel canvas').getAttribute('aria-label')").endswith(": 1 face")
    everything = pixels(browser)
    for name in ("points", "skeleton", "box"):
        toggle(browser, name)
        assert (pixels(browser) != everything).any(), name
        everything = pixels(browser)
    # Nothing is left but the photograph.
    photograph = Image.fromarray(astronaut).resize(everything.shape[1::-1], Image.Resampling.BICUBIC)
    assert np.abs(everything - np.array(photograph, int)).mean() < 3
    assert browser.complaints == []


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_a_photograph_is_dropped_and_pasted(page, photograph, how):
    browser = page()
    browser.run(f"""(() => {{
      const content = Uint8Array.from(atob("{base64.b64encode(photograph).decode()}"), c => c.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([content], "brought.jpg", {{type: "image/jpeg"}}));
      const event = "{how}" === "drop" ? new DragEvent("drop", {{dataTransfer: data, bubbles: true, cancelable: true}})
        : new ClipboardEvent("paste", {{clipboardData: data, bubbles: true}});
      document.body.dispatchEvent(event);
    }})()""")
    until_shown(browser)
    assert browser.run(FOUND) == ["1 face"]
    assert browser.run(STATUS).startswith("brought.jpg: ")


def test_models_side_by_side_and_the_download(page, server, file, photograph, tmp_path):
    browser = page()
    compare_both(browser, file)
    assert browser.run(FOUND) == ["1 face", "1 face"]
    left, right = browser.run("[...document.querySelectorAll('.panel')].map(e => e.getBoundingClientRect().toJSON())")
    assert left["top"] == right["top"]
    assert left["right"] < right["left"]

    browser.ask("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    browser.run("document.getElementById('download').click()")
    end, file = time.monotonic() + PATIENCE, tmp_path / "astronaut.json"
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.03)
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["image"] == "astronaut.jpg"
    answers = [server.landmarks(photograph, model=name)[1] for name in MODELS]
    for answer in (*found["results"], *answers):
        assert answer.pop("milliseconds")["total"] > 0
    assert found["results"] == answers

    first, second = (answer["faces"][0] for answer in answers)
    apart = np.linalg.norm(np.subtract(first["landmarks"], second["landmarks"]), axis=1)
    share = 100 * apart / np.mean([np.sqrt(np.prod(face["box"][2:])) for face in (first, second)])
    cells = browser.run("[...document.querySelectorAll('#comparison tbody tr > *')].map(e => e.textContent)")
    names, faces, mean, largest = cells
    assert (names, faces) == (" and ".join(MODELS), "1")
    assert float(mean.rstrip(" %")) == pytest.approx(share.mean(), abs=0.006)
    assert float(largest.rstrip(" %")) == pytest.approx(share.max(), abs=0.006)


def test_points_are_drawn_where_they_are(page, file, server, photograph):
    landmarks = np.array(server.landmarks(photograph)[1]["faces"][0]["landmarks"])
    browser = page()
    choose(browser, file)
    until_shown(browser)
    toggle(browser, "skeleton")
    toggle(browser, "box")
    drawn = pixels(browser)
    toggle(browser, "points")
    changed = (drawn != pixels(browser)).any(axis=2)
    # Pixel centres lie at integers, on the canvas as in the photograph.
    expected = (landmarks + 0.5) * changed.shape[0] / 512 - 0.5
    rows, columns = np.nonzero(changed)
    distances = np.hypot(columns[:, None] - expected[:, 0], rows[:, None] - expected[:, 1])
    assert distances.min(axis=1).max() < 4
    assert distances.min(axis=0).max() < 1
    nearest = expected[distances.argmin(axis=1)]
    assert np.abs(np.mean(np.stack([columns, rows], axis=1) - nearest, axis=0)).max() < 0.15


def test_messages_for_no_face_and_no_picture(page, tmp_path):
    (tmp_path / "grey.png").write_bytes(file_of(np.full((60, 90, 3), 128, np.uint8), "PNG"))
    (tmp_path / "words.jpg").write_bytes(b"no picture")
    (tmp_path / "large.jpg").write_bytes(bytes(20_000_001))
    browser = page()
    choose(browser, tmp_path / "grey.png")
    until_shown(browser)
    assert browser.run(FOUND) == ["No face was found"]
    assert "no face was found" in browser.run(STATUS)
    choose(browser, tmp_path / "large.jpg")
    until(browser, f"{STATUS}.startsWith('large.jpg: 20.0 MB, expected 20 MB at most')")
    assert browser.complaints == []
    choose(browser, tmp_path / "words.jpg")
    until(browser, f"{STATUS}.includes('not an image of a known format')")
    assert browser.run("document.getElementById('status').classList.contains('error')")
    assert browser.run("document.getElementById('download').disabled")


def test_a_phone_shows_all_without_horizontal_scrolling(page, file):
    browser = page(360, dark=True)
    compare_both(browser, file)
    assert browser.run("document.documentElement.scrollWidth") == 360
    over = """[...document.querySelectorAll('body *')].filter(e => !e.hidden && !e.closest('.scroll > *'))
        .filter(e => e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0)
        .map(e => e.outerHTML.slice(0, 200))"""
    assert browser.run(over) == []
    tops = browser.run("[...document.querySelectorAll('.panel')].map(e => e.getBoundingClientRect().top)")
    assert tops[0] < tops[1]


def test_the_camera_is_followed_and_stopped(page):
    browser = page()
    browser.run("document.getElementById('start').click()")
    # A face that was found once is followed in its box.
    until(browser, f"{FACTS}.some(text => text.includes('no detection'))")
    assert browser.run(f"{FOUND}[0]") in ("1 face", "2 faces")
    assert browser.run(STATUS) == "The camera is on."
    live = "document.getElementById('video').srcObject?.getTracks().map(track => track.readyState) ?? null"
    assert browser.run(live) == ["live"]
    browser.run("window.tracks = document.getElementById('video').srcObject.getTracks()")
    browser.run("document.getElementById('stop').click()")
    assert browser.run(live) is None
    assert browser.run("window.tracks.map(track => track.readyState)") == ["ended"]
    assert browser.run(STATUS) == "The camera is off."
    # The last frame stays, and can be had.
    assert browser.run("document.getElementById('download').disabled") is False

    browser.run("document.getElementById('start').click()")
    until(browser, f"{STATUS} === 'The camera is on.'")
    browser.run("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")
    assert browser.run(live) is None
    assert browser.run(STATUS) == "The camera was stopped because the page was hidden."
    assert browser.complaints == []
