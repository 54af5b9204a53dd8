"""The example application in a real browser, under gunicorn's gevent worker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.postgres.flask_app.conftest import EXAMPLES, Site, eventually, free_port, running

DOWN = "s1"
OPTIONS = [
    "--headless=new",
    "--no-sandbox",  # which root cannot have
    "--disable-dev-shm-usage",  # containers have a small one
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-proxy-server",
]

#: Each element that has text of its own, with its colour and that behind it.
COLOURS = """
const behind = (element) => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (!/rgba\\(.*, 0\\)/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
};
return [...document.querySelectorAll("body *")]
  .filter((e) => !e.closest("svg") && e.checkVisibility())
  .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .map((e) => [e.textContent.trim().slice(0, 40), getComputedStyle(e).color, behind(e)]);
"""

#: Each thing to use that has no name to be read out.
NAMELESS = """
return [...document.querySelectorAll("a, button, input, textarea, summary, svg[role=img]")]
  .filter((e) => !(e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim()))
  .map((e) => e.outerHTML);
"""


@pytest.fixture(scope="module")
def url(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application's address."""
    place = f"127.0.0.1:{free_port()}"
    log = tmp_path_factory.mktemp("gunicorn") / "log"
    command = ["-m", "gunicorn", "-c", str(EXAMPLES / "flask_app" / "gunicorn.conf.py")]
    environment = {"BIND": place, "GREENSHARD_CLUSTER": str(site.declaration)}
    with running(command, log, f"http://{place}/healthz", **environment):
        yield f"http://{place}"
    assert "Using worker: gevent" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        missing = "no chromium, or no chromedriver (Debian: chromium-driver)"
        if os.environ.get("GREENSHARD_TEST_BROWSER"):
            pytest.fail(missing)
        pytest.skip(missing)
    options = ChromeOptions()
    options.binary_location = str(programs[0])
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for option in OPTIONS:
        options.add_argument(option)
    chrome = Chrome(options=options, service=Service(str(programs[1])))
    try:
        yield chrome
    finally:
        chrome.quit()


class Browser:
    """A browser on the application, as wide as a desk's or a phone's."""

    def __init__(self, chrome: Chrome, url: str) -> None:
        self.chrome = chrome
        self.url = url
        self.look(1280)

    def look(self, width: int, scheme: str = "light") -> None:
        phone = width < 500
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": phone}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def open(self, path: str) -> None:
        self.chrome.get(self.url + path)

    def script(self, text: str) -> Any:
        return self.chrome.execute_script(text)

    def one(self, selector: str) -> Any:
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[Any]:
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """The texts of some elements, in one step: the status page changes itself meanwhile."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)"
        return list(self.chrome.execute_script(script, selector))

    @property
    def heading(self) -> str:
        return self.texts("h1")[0]

    @property
    def path(self) -> str:
        return str(self.chrome.current_url).removeprefix(self.url)

    def complaints(self) -> list[str]:
        """What is in the console: errors, warnings, and what the page's policy forbids."""
        return [entry["message"] for entry in self.chrome.get_log("browser")]


@pytest.fixture
def browser(chrome: Chrome, url: str, healthy: Site) -> Browser:
    browser = Browser(chrome, url)
    chrome.get("about:blank")
    browser.complaints()
    return browser


@pytest.fixture
def paths(site: Site) -> list[str]:
    """One of each page."""
    aircraft = f"/aircraft/{site.tailnum_on(DOWN)}"
    return ["/", "/delays", "/airports/ATL", "/airports/JFK", aircraft, "/search?q=N7", "/status"]


def test_pages_have_a_title_a_heading_and_nothing_in_the_console(
    browser: Browser, paths: list[str]
) -> None:
    for path in paths:
        browser.open(path)
        assert browser.chrome.title.endswith(" · New York departures")
        assert len(browser.all("h1")) == 1
        assert browser.script(NAMELESS) == []
        assert browser.complaints() == []


def test_nothing_is_wider_than_a_phone(browser: Browser, paths: list[str]) -> None:
    browser.look(375)
    for path in [*paths, "/nothing"]:
        browser.open(path)
        browser.script("document.querySelectorAll('details').forEach((e) => (e.open = true))")
        assert (path, browser.script("return document.documentElement.scrollWidth")) == (path, 375)
        cards = "return [...document.querySelectorAll('.card')].map((e) => e.scrollWidth)"
        assert all(width <= 375 for width in browser.script(cards))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(
    browser: Browser, paths: list[str], scheme: str
) -> None:
    browser.look(1280, scheme)
    for path in [*paths, "/nothing"]:
        browser.open(path)
        browser.script("document.querySelectorAll('details').forEach((e) => (e.open = true))")
        paper = luminance(browser.script("return getComputedStyle(document.body).backgroundColor"))
        assert paper < 0.1 if scheme == "dark" else paper > 0.8
        colours = browser.script(COLOURS)
        assert len(colours) > 10
        pale = [row for row in colours if contrast(row[1], row[2]) < 4.5]
        assert pale == []


def luminance(colour: str) -> float:
    """How bright a colour is, by the rule of WCAG 2."""
    parts = colour[colour.index("(") + 1 : -1].split(",")
    values = [int(part) / 255 for part in parts[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, bright = sorted([luminance(one), luminance(other)])
    return (bright + 0.05) / (dark + 0.05)


def test_search_leads_to_an_aircraft(browser: Browser, site: Site) -> None:
    tailnum = site.tailnum_on("s2")
    browser.open("/")
    browser.one("#q").send_keys(tailnum.lower(), Keys.ENTER)
    eventually(lambda: browser.path == f"/aircraft/{tailnum}")
    assert browser.heading == tailnum
    assert "on shard s2" in browser.texts(".lead")[0]


def test_keyboard_reaches_the_content_and_opens_how_it_was_asked(browser: Browser) -> None:
    browser.open("/delays")
    focused = browser.chrome.switch_to.active_element
    focused.send_keys(Keys.TAB)
    assert browser.chrome.switch_to.active_element.text == "Skip to the content"
    browser.chrome.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.script("return document.activeElement.id") == "main"
    browser.one("summary").send_keys(Keys.ENTER)
    assert "strategy: combine" in browser.texts("details[open]")[0]


def test_notes_are_written_refused_and_removed(browser: Browser, site: Site) -> None:
    browser.open(f"/aircraft/{site.tailnum_on('s0')}")
    for number in range(5):
        write(browser, f"note {number} <i>of five</i>")
        assert "committed together on shard s0" in browser.texts("[role=status]")[0]
    assert len(browser.texts(".notes li")) == 5
    assert browser.texts(".notes .new > p") == ["note 4 <i>of five</i>"]
    assert browser.complaints() == []
    write(browser, "one too many")
    assert "rolled back" in browser.texts("[role=alert]")[0]
    assert len(browser.texts(".notes li")) == 5
    assert browser.one("textarea").get_property("value") == "one too many"
    browser.one(".notes button").send_keys(Keys.ENTER)
    eventually(lambda: len(browser.texts(".notes li")) == 4)
    browser.open("/")
    assert len(browser.all("#notes li")) == 4


def write(browser: Browser, text: str) -> None:
    browser.script("window.isOld = true")
    browser.one("textarea").clear()
    browser.one("textarea").send_keys(text)
    browser.one(".write button").send_keys(Keys.ENTER)
    loaded = "return !window.isOld && document.readyState === 'complete'"
    eventually(lambda: browser.script(loaded))


def test_status_shows_a_bar_for_each_shard(browser: Browser, site: Site) -> None:
    browser.open("/")
    browser.open("/status")
    assert [text.split()[0] for text in browser.texts(".shard h3")] == ["s0", "s1", "s2"]
    tall = """return [...document.querySelectorAll(".latencies")].map((picture) =>
      Math.max(...[...picture.querySelectorAll(".bucket")]
        .map((bar) => bar.getBoundingClientRect().height)))"""
    heights = browser.script(tall)
    assert len(heights) == len(site.shards)
    assert all(height > 1 for height in heights)
    assert len(browser.all(".cells rect")) == 20
    eventually(lambda: browser.texts("#refresh")[0] == "Live")


def test_status_works_without_javascript(browser: Browser) -> None:
    browser.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open("/status")
        browser.one("#refresh").click()
        assert browser.texts("#refresh")[0] == "Refresh"
        assert len(browser.all(".latencies")) == 3
    finally:
        browser.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_stopped_shard_has_a_page_of_its_own_until_it_is_back(
    browser: Browser, site: Site, tmp_path: Path
) -> None:
    browser.open("/status")
    site.shards[DOWN].stop()
    eventually(lambda: "1 shard of 3 down" in browser.texts("#live")[0])
    assert [text.split()[0] for text in browser.texts(".shard.down h3")] == [DOWN]
    browser.look(375, "dark")
    browser.open("/")
    assert browser.heading == "Part of the data is out of reach"
    assert DOWN in browser.texts(".lead")[0]
    assert browser.script("return document.documentElement.scrollWidth") == 375
    assert [row for row in browser.script(COLOURS) if contrast(row[1], row[2]) < 4.5] == []
    browser.open(f"/aircraft/{site.tailnum_on('s0')}")
    assert browser.heading == site.tailnum_on("s0")
    site.shards[DOWN].start()
    browser.open("/")

    def again() -> bool:
        browser.one(".actions .button").click() if browser.all(".error") else None
        return browser.heading == "Every flight that left New York in 2013"

    eventually(again)
