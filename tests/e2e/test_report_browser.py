"""The report in headless Chromium: what it shows, on a desk and on a phone, in the light and in the dark."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import threading

import pytest
import run_folders
from sounds.report_run import make_sound_run
from sounds.transcript_run import make_transcript_run

from hf_finetune.formatting import format_number
from hf_finetune.report import write_report

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
)
RUNS = {
    "digits": run_folders.make_digits_run,
    "no-test": functools.partial(run_folders.make_digits_run, has_test=False, has_baseline=False),
    "regression": functools.partial(run_folders.make_regression_run, num_targets=2),
    "multi-label": run_folders.make_multi_label_run,
    "sounds": make_sound_run,
    "transcripts": make_transcript_run,
    "unfinished": run_folders.make_unfinished_run,
    "hostile": run_folders.make_hostile_run,
    "large": functools.partial(run_folders.make_large_run, num_classes=300, num_entries=3000),
}


class Browser:
    """Chromium, a server on loopback that counts what is asked of it, and the pages of all runs."""

    def __init__(self, driver, root, address: str, scores: dict) -> None:
        self.driver, self.root, self.address, self.scores = driver, root, address, scores

    def open(self, name: str, *, width: int = 1280, scheme: str = "light") -> None:
        command = self.driver.execute_cdp_cmd
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        command("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        command("Emulation.setDeviceMetricsOverride", size)
        self.driver.get(f"{self.address}/{name}/report.html")

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def requests(self) -> list[str]:
        """Return the addresses asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
            and not message["params"]["request"]["url"].startswith(("data:", "chrome:"))
        ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        # where .ci/run has installed them, a test that does not run is a test that fails
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "needs chromium and chromedriver (Debian: apt install chromium chromium-driver)"
        )
    webdriver = pytest.importorskip("selenium.webdriver")
    root = tmp_path_factory.mktemp("runs")
    scores = {}
    for name, make in RUNS.items():
        (root / name).mkdir()
        scores[name] = make(root / name)
        write_report(root / name)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(root))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
        try:
            driver.get("about:blank")  # away from Chromium's own first page, which loads much
            yield Browser(driver, root, f"http://127.0.0.1:{server.server_port}", scores)
        finally:
            driver.quit()
            server.shutdown()


@pytest.fixture(params=RUNS)
def name(request):
    return request.param


def test_nothing_is_asked_of_the_network_and_nothing_fails(browser, name):
    browser.requests()
    browser.driver.get_log("browser")
    browser.open(name)
    assert browser.requests() == [f"{browser.address}/{name}/report.html"]
    assert browser.driver.get_log("browser") == []
    assert browser.run("return window.hacked") is None
    assert browser.run("return [...document.images].every(image => image.naturalWidth > 0)")


def test_the_policy_forbids_what_is_not_ours(browser):
    browser.open("digits")
    done = """
        const script = document.createElement("script");
        script.textContent = "window.hacked = 5";
        document.body.append(script);
        document.body.setAttribute("style", "color: rgb(1, 2, 3)");
        return [window.hacked ?? null, getComputedStyle(document.body).color];
    """
    hacked, colour = browser.run(done)
    assert hacked is None
    assert colour != "rgb(1, 2, 3)"
    assert browser.driver.get_log("browser")  # it says what it refused


@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_no_page_scrolls_sideways(browser, name, width):
    browser.open(name, width=width)
    browser.run("document.querySelectorAll('details').forEach(one => one.open = true)")
    wide = """
        const wide = [...document.body.querySelectorAll("*")].filter(one =>
            one.getBoundingClientRect().right > innerWidth + 1 && !one.closest(".scroll, .skip, svg"));
        return [document.scrollingElement.scrollWidth, wide.slice(0, 3).map(one => one.outerHTML)];
    """
    assert browser.run(wide) == [width, []]


CONTRAST = """
    document.querySelectorAll("details").forEach(one => one.open = true);
    const parse = (text) => {
        const numbers = text.match(/[\\d.]+/g).map(Number);
        return numbers.length === 3 ? [...numbers, 1] : numbers;
    };
    const over = (front, back) => front.slice(0, 3).map((v, i) => v * front[3] + back[i] * (1 - front[3]));
    const backdrop = (element) => {
        const layers = [];
        for (let one = element; one; one = one.parentElement) {
            layers.push(parse(getComputedStyle(one).backgroundColor));
        }
        return layers.reverse().reduce((back, layer) => over(layer, back), [255, 255, 255]);
    };
    const light = (colour) => {
        const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = colour.map(v => linear(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const poor = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || element.closest("script, style, .skip, title, desc")) continue;
        const style = getComputedStyle(element);
        const isSvg = element instanceof SVGElement;
        const back = backdrop(isSvg ? element.closest("figure") : element);
        const ink = light(over(parse(isSvg ? style.fill : style.color), back)), paper = light(back);
        const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        const wanted = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
        if (ratio < wanted) poor.push([walker.currentNode.data.trim().slice(0, 40), style.color, ratio]);
    }
    return poor;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_in_both_schemes(browser, name, scheme):
    browser.open(name, scheme=scheme)
    red, green, blue = browser.run(
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (red + green + blue > 600) == (scheme == "light")
    assert browser.run(CONTRAST) == []


def test_it_can_be_read_without_seeing_it(browser, name):
    browser.open(name)
    script = """
        return {
            pictures: [...document.images].every(image => image.alt.length > 10),
            plots: [...document.querySelectorAll("svg[role=img]")].every(svg =>
                svg.querySelector("title").textContent && svg.querySelector("desc").textContent.length > 20),
            drawings: [...document.querySelectorAll("svg")].every(svg =>
                svg.matches("[role=img], [aria-hidden=true]") || svg.parentElement.closest("svg")),
            tables: [...document.querySelectorAll("table")].every(one => one.querySelector("th[scope=col]")),
            regions: [...document.querySelectorAll("[role=region]")].every(one =>
                one.ariaLabel && one.tabIndex === 0),
            headings: document.querySelectorAll("h1").length,
            language: document.documentElement.lang,
        };
    """
    assert browser.run(script) == {
        "pictures": True,
        "plots": True,
        "drawings": True,
        "tables": True,
        "regions": True,
        "headings": 1,
        "language": "en",
    }


def test_it_shows_what_the_run_folder_says(browser):
    browser.open("digits")
    scores = browser.scores["digits"]
    shown = browser.run("return document.body.innerText")
    for part in (scores["eval"], scores["test"], scores["baseline"]["eval"], scores["baseline"]["test"]):
        for value in part.values():
            assert format_number(value) in shown
    assert f"eval split, update {scores['best']['step']}" in shown
    counts = browser.run(
        "return [...document.querySelectorAll('table.confusion tbody tr')].map("
        "row => [...row.querySelectorAll('td')].map(cell => Number(cell.textContent)))"
    )
    matrix = scores["details"]["test"]["confusion_matrix"]
    assert counts == matrix
    assert sum(map(sum, counts)) == 360
    num_wrong = 360 - sum(matrix[i][i] for i in range(10))
    assert browser.run("return document.querySelectorAll('.mistakes img').length") == num_wrong
    support = browser.run(
        "return [...document.querySelectorAll('table.sortable tbody tr')].map("
        "row => Number(row.cells[4].textContent))"
    )
    assert support == [sum(row) for row in matrix]


PLAY = """
    const done = arguments[arguments.length - 1];
    const players = [...document.querySelectorAll("audio")];
    const ready = players.map(one => new Promise((resolve, reject) => {
        one.preload = "auto";
        one.muted = true;
        one.addEventListener("ended", () => resolve([one.duration, one.currentTime, one.error]));
        one.addEventListener("error", () => reject(one.error.message));
        one.playbackRate = 8;
        one.play().catch(reject);
    }));
    Promise.all(ready).then(done, error => done(String(error)));
"""


@pytest.mark.parametrize("width", [360, 1280])
def test_the_players_load_and_play_to_the_end(browser, width):
    browser.driver.get_log("browser")
    browser.open("sounds", width=width)
    played = browser.driver.execute_async_script(PLAY)
    num_cards = browser.run("return document.querySelectorAll('.mistakes li').length")
    assert len(played) == num_cards > 0
    for duration, at, error in played:
        assert 0.4 < duration < 3.1
        assert at == pytest.approx(duration, abs=0.05)
        assert error is None
    assert browser.driver.get_log("browser") == []
    labels = "return [...document.querySelectorAll('audio')].map(one => one.ariaLabel)"
    assert all(label.startswith("The sound of row ") for label in browser.run(labels))
    widths = "return [...document.querySelectorAll('audio')].map(one => one.getBoundingClientRect().width)"
    assert min(browser.run(widths)) > 200  # narrower, Chromium hides the time line


def test_the_numbers_under_the_pointer_are_those_of_the_log(browser):
    browser.open("digits")
    log = [json.loads(line) for line in (browser.root / "digits" / "log.jsonl").read_text().splitlines()]
    box = browser.run("""
        const overlay = document.querySelector(".overlay");
        overlay.scrollIntoView({block: "center"});
        const {left, top, width, height} = overlay.getBoundingClientRect();
        return {left, top, width, height};
    """)
    where = {"x": box["left"] + box["width"] * 2 / 3, "y": box["top"] + box["height"] / 2}
    browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **where})
    seen = browser.run("return document.querySelector('.readout').textContent")
    train = next(entry["loss"] for entry in log if entry["step"] == 300 and "loss" in entry)
    held_out = next(entry["eval_loss"] for entry in log if entry["step"] == 300 and "eval_loss" in entry)
    assert seen.startswith("update 300: ")
    assert f"train {train:.4g}" in seen
    assert f"eval {held_out:.4g}" in seen
    legend = "return getComputedStyle(document.querySelector('.legend')).visibility"
    assert browser.run(legend) == "hidden"
    browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 1, "y": 1})
    assert browser.run(legend) == "visible"


def test_a_table_sorts_by_a_click(browser):
    browser.open("large")
    first = "return document.querySelector('table.sortable tbody tr').cells[{}].dataset.value"
    click = "document.querySelectorAll('table.sortable thead button')[{}].click()"
    lowest_f1 = float(browser.run(first.format(3)))
    browser.run(click.format(4))
    fewest = int(browser.run(first.format(4)))
    browser.run(click.format(4))
    assert int(browser.run(first.format(4))) > fewest
    browser.run(click.format(0))
    assert float(browser.run(first.format(3))) == lowest_f1


def test_the_curves_lie_inside_their_plots(browser, name):
    browser.open(name, width=360)
    outside = """
        return [...document.querySelectorAll("svg.plot")].flatMap(plot => {
            const box = plot.getBoundingClientRect();
            return [...plot.querySelectorAll("polyline, circle, line")].filter(shape => {
                const at = shape.getBoundingClientRect();
                return at.left < box.left - 5 || at.right > box.right + 5
                    || at.top < box.top - 5 || at.bottom > box.bottom + 5;
            }).map(shape => shape.outerHTML.slice(0, 80));
        });
    """
    assert browser.run(outside) == []
