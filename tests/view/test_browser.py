"""The site in a real Chromium: what a person does with keys and pointer. Skipped where there is no browser."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from looking import STILLS, TOKEN, WALK, paint_store
from made_up import make_up
from stores import wait_until

from render import animate_store
from render.catalog import read_marks
from render.view import write_static
from render.view.server import _listen
from render.view.site import make_site
from render.view.viewer import Viewer

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.slow
WAIT_MS = 120_000  # on a machine that has other work, too
FRAMES = 3000  # of the large grid
NO_GAP = """[...document.querySelectorAll('.page')].every(section => {
    const box = section.getBoundingClientRect();
    return box.bottom < 0 || box.top > innerHeight || section.childElementCount > 0;
})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        path = CHROMIUM or started.chromium.executable_path  # one that `playwright install chromium` has fetched
        if not Path(path).exists():
            pytest.skip("needs a Chromium")
        found = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("large") / "out"
    make_up(out, FRAMES)
    return out


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = paint_store(tmp_path_factory.mktemp("browser"), WALK + STILLS)
    animate_store(out, "animation.formats=[gif]")
    return out


class Site:
    """A site that is served, with what went wrong in its pages."""

    def __init__(self, out: Path, browser: Any) -> None:
        self.viewer = Viewer(out)
        self.viewer.wait()
        listening = _listen(0)
        port = listening.getsockname()[1]
        config = uvicorn.Config(
            make_site(self.viewer, TOKEN, f"render-{port}"), log_level="error", lifespan="off", ws="none"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]})
        self._thread.start()
        self.base, self.wrong = f"http://127.0.0.1:{port}", list[str]()
        self.context = browser.new_context(viewport={"width": 1200, "height": 800})
        self.page = self.open("/")

    def open(self, path: str) -> Any:
        """A new page; what it says of errors is kept."""
        page = self.context.new_page()
        page.on("console", lambda message: self.wrong.extend([message.text] if message.type == "error" else []))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.goto(f"{self.base}{path}{'&' if '?' in path else '?'}token={TOKEN}")
        page.set_default_timeout(WAIT_MS)
        page.wait_for_selector("body[data-ready]")
        return page

    def close(self) -> None:
        self.context.close()
        self._server.should_exit = True
        self._thread.join()
        self.viewer.close()


@pytest.fixture
def site(painted: Path, tmp_path: Path, browser: Any) -> Iterator[Site]:
    with closing(Site(shutil.copytree(painted, tmp_path / "out"), browser)) as found:
        yield found
    assert found.wrong == []  # no script failed, and the policy has refused nothing


def test_images_are_marked_with_single_keys(site: Site) -> None:
    page = site.open("/images")
    first, second = page.locator("article.cell").nth(0), page.locator("article.cell").nth(1)
    page.keyboard.press("ArrowRight")
    assert first.locator("a.pic").evaluate("link => link === document.activeElement")
    page.keyboard.press("k")
    page.wait_for_selector("article[data-mark=keep]")
    assert first.locator(".badge.keep").inner_text() == "kept"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("r")
    page.keyboard.press("4")
    page.wait_for_selector("article[data-mark=reject][data-rating='4']")
    page.keyboard.press("n")
    page.locator("#note-text").fill("k r 5 <b>")  # no keys of the page
    page.locator("#note button.primary").click()
    page.wait_for_selector("article[data-note]")
    assert second.get_attribute("data-note") == "k r 5 <b>"
    page.keyboard.press("u")
    page.wait_for_selector("article[data-note]", state="detached")
    keys = [cell.get_attribute("data-key") for cell in (first, second)]
    marks = [site.viewer.marks.of(key) for key in keys]
    assert [(mark.mark, mark.rating, mark.note) for mark in marks] == [("keep", None, None), ("reject", 4, None)]
    wait_until(lambda: len(read_marks(site.viewer.out)) == 2, "the file")


def test_two_tabs_see_each_others_marks(site: Site) -> None:
    one, two = site.open("/images"), site.open("/images?s=seed")
    one.keyboard.press("ArrowRight")
    one.keyboard.press("k")
    one.wait_for_selector("article[data-mark=keep]")
    key = one.locator("article[data-mark=keep]").get_attribute("data-key")
    two.wait_for_selector(f"article[data-key='{key}'][data-mark=keep]")


def test_a_filter_is_made_by_the_form_and_stands_in_the_address(site: Site) -> None:
    page = site.open("/images")
    page.locator("summary", has_text="Add a filter").click()
    page.locator("#filter-column").select_option("thing")
    page.wait_for_selector("#values option", state="attached")
    assert page.locator("#values option").count() == 3
    assert (
        page.locator("#filter-operator option:not([disabled])").count()
        < page.locator("#filter-operator option").count()
    )
    page.locator("#filter-value").fill("rocket")
    page.locator(".add button").click()
    page.wait_for_url("**/images?c=thing&o=is&v=rocket")
    assert page.locator("article.cell").count() == 5
    page.locator("select[name=s]").select_option("seed")
    page.wait_for_url("**/images?c=thing&o=is&v=rocket&s=seed")
    page.locator(".chip a").click()
    page.wait_for_url("**/images?s=seed")


def test_a_walk_is_played_and_scrubbed(site: Site) -> None:
    page = site.open("/walk?name=dog-to-cat")
    page.wait_for_selector(".distances svg")
    where = page.locator("[data-where]")
    page.keyboard.press("ArrowRight")
    assert where.inner_text().startswith("frame 1 ")
    page.locator("[data-scrub]").fill("8")
    assert where.inner_text().startswith("frame 8 ")
    assert page.locator("[data-prompts]").inner_text() == "t 0.500 · 3d cat face → 3d fox face"
    page.locator("h1").click()
    page.keyboard.press("Space")
    wait_until(lambda: where.inner_text().startswith("frame 10 "), "the walk's end")
    page.keyboard.press("Space")
    page.locator(".distances svg").click(position={"x": 2, "y": 10})
    assert where.inner_text().startswith("frame 0 ")
    page.keyboard.press("k")
    page.wait_for_selector(".stage[data-mark=keep]")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".stage:not([data-mark])")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".stage[data-mark=keep]")


def test_images_are_put_aside_and_compared(site: Site) -> None:
    page = site.open("/images")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("c")
    page.locator("#tray a").click()
    page.wait_for_url("**/compare?k=*")
    assert page.locator("figure.cell").count() == 3
    slider = page.locator("img-comparison-slider")
    slider.focus()
    page.keyboard.press("ArrowRight", delay=200)
    wait_until(lambda: int(slider.get_attribute("aria-valuenow")) > 50, "the divider")


@pytest.mark.parametrize(
    "path",
    ["/", "/images", "/images?view=stacks", "/walks", "/walk?name=dog-to-cat", "/compare?seeds=KEY", "/frame/KEY"],
)
def test_everything_has_a_name_and_fits_a_phone(site: Site, path: str) -> None:
    page = site.open(path.replace("KEY", site.viewer.query("SELECT key FROM frames WHERE seed = 2")[0]["key"]))
    page.set_viewport_size({"width": 390, "height": 844})
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390, "the page scrolls sideways"
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, img, video')]
        .filter(one => one.offsetParent && !(one.getAttribute('aria-label') || one.title || one.hasAttribute('alt')
          || one.textContent.trim() || one.labels?.length || one.querySelector('img[alt]:not([alt=""])')
          || one.getAttribute('aria-labelledby')))
        .map(one => one.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    assert page.locator("h1").count() == 1
    assert page.locator("main").count() == 1


def test_a_large_grid_scrolls_and_stays_small(large: Path, browser: Any) -> None:
    with closing(Site(large, browser)) as site:
        page = site.open("/images?s=prompt")
        assert page.locator("article.cell").count() == 120
        height = page.evaluate("document.documentElement.scrollHeight")
        for part in range(1, 11):
            page.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {part / 10} - innerHeight)")
            wait_until(lambda: page.evaluate(NO_GAP), "the images in the window")
            assert page.locator("article.cell").count() <= 1800
        assert abs(page.evaluate("document.documentElement.scrollHeight") - height) < 0.02 * height
        last = page.locator("article.cell").last.get_attribute("data-key")
        wanted = site.viewer.query("SELECT key FROM frames ORDER BY prompt DESC, shard DESC, row DESC LIMIT 1")
        assert last == wanted[0]["key"]
    assert site.wrong == []


def test_static_pages_open_from_disk(painted: Path, tmp_path: Path, browser: Any) -> None:
    write_static(painted, tmp_path / "pages")
    page, wrong = browser.new_page(), list[str]()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    page.goto((tmp_path / "pages" / "index.html").as_uri())
    page.locator("nav a", has_text="Images").click()
    loaded = "[...document.images].slice(0, 4).every(image => image.naturalWidth > 0)"
    wait_until(lambda: page.evaluate(loaded), "the images")
    page.locator("nav a", has_text="Walks").click()
    page.locator(".card a").click()
    page.wait_for_selector("[data-player]")
    page.wait_for_selector("body[data-ready]")
    page.keyboard.press("ArrowRight")
    assert page.locator("[data-where]").inner_text().startswith("frame 1 ")
    page.close()
    assert wrong == []
