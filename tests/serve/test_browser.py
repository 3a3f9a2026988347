"""The page to try models in a real browser: type, choose a file, stream, look, and no error on the console."""

import base64
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serve.served import service
from serve.test_openai import chat_model
from small_models import image_classifier, text_model, write_models

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    write_models(home, pictures=image_classifier(), texts=text_model(), chats=chat_model())
    with service([home / name for name in ("pictures", "texts", "chats")]) as found:
        yield found


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 380)])
def test_every_kind_of_model_is_asked(browser, client, scheme, width, tmp_path):
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"http://127.0.0.1:{client.port}/")
    page.wait_for_selector("#model option", state="attached")
    shots = Path(os.environ.get("JAXLM_SCREENSHOTS") or tmp_path)

    page.select_option("#model", "pictures")
    page.click("#example")
    page.wait_for_selector("#shown")
    page.click("#send")
    page.wait_for_selector(".bar")
    assert page.locator(".bar").count() == 3
    page.screenshot(path=shots / f"pictures-{scheme}-{width}.png")

    found = client.ask("GET", "/v1/models")[2]["data"][0]["example"]["base64"]
    file = tmp_path / "image.png"
    file.write_bytes(base64.b64decode(found))
    page.set_input_files("#file", file)
    page.click("#send")
    page.wait_for_selector(".bar")

    page.select_option("#model", "texts")
    page.fill("#text-0", "the")
    page.click("#send")
    page.locator("#status", has_text="request").wait_for()
    expected = client.ask(
        "POST", "/v1/completions", {"model": "texts", "prompt": "the", "max_tokens": 16, "temperature": 0}
    )[2]
    assert page.inner_text("#answer") == (expected["choices"][0]["text"] or "(nothing)")
    page.screenshot(path=shots / f"texts-{scheme}-{width}.png")

    page.select_option("#model", "chats")
    page.fill("#text-0", "Hello")
    page.click("#send")
    page.locator("#status", has_text="request").wait_for()
    assert errors == []
    page.fill("#text-0", "")
    page.click("#send")
    page.wait_for_selector("#status.wrong")
    assert "content" in page.inner_text("#status")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()


def test_a_picture_that_a_camera_turned_is_drawn_as_the_model_saw_it(browser, client):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :20, 0] = pixels[:, 20:, 2] = 255
    content, exif = io.BytesIO(), Image.Exif()
    exif[274] = 6  # "turn it to look at it"
    Image.fromarray(pixels).save(content, "JPEG", exif=exif, quality=95)
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{client.port}/")
    page.wait_for_selector("#model option", state="attached")
    page.select_option("#model", "pictures")
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": content.getvalue()})
    page.wait_for_selector("#shown")
    drawn = """async () => {
      const canvas = await boxes({ width: 40, height: 20, boxes: [] });
      return [3, 37].map((x) => [...canvas.getContext("2d").getImageData(x, 10, 1, 1).data]);
    }"""
    left, right = page.evaluate(drawn)
    assert left[0] > 200 > right[0]
    assert right[2] > 200 > left[2]
    page.close()


def test_a_speaker_may_be_called_by_a_number(browser, client):
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{client.port}/")
    page.wait_for_selector("#model option", state="attached")
    chosen = """() => {
      globalThis.model = () => ({ options: { speaker: null, seed: 0, length: null } });
      $("options").replaceChildren(...["speaker", "seed", "length"].map((name) => field(name, "")[0]));
      for (const input of $("options").querySelectorAll("input")) input.value = "19";
      return options();
    }"""
    assert page.evaluate(chosen) == {"speaker": "19", "seed": 19, "length": 19}
    page.close()
