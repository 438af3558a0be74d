"""A browser for tests of the pages: Debian's Chromium, and what is asked of every page in it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.netns.lab import wait_until

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()  # the package carries it

SCREENSHOTS = Path(__file__).parent.parent.parent / "build" / "screenshots"  # of failures
WIDTHS = (1440, 390)
ANSWER_WAIT_MS = 30_000
NUMBER = re.compile(r"/[0-9][^/]*|/[0-9a-f]{7,}")  # of a failover, a revision, a job

# What Tab is to reach. Of radio buttons with one name it reaches one, so those count as one.
CONTROLS = """() => {
  const all = "a[href], button, input:not([type=hidden]), select, textarea, summary";
  const found = [...document.querySelectorAll(all)].filter(one =>
    !one.disabled && one.checkVisibility({visibilityProperty: true}));
  return found.map(KEY);
}"""
FOCUSED = """() => {
  const one = document.activeElement;
  const ring = getComputedStyle(one);
  return {key: (KEY)(one), seen: ring.outlineStyle !== "none" && ring.outlineWidth !== "0px"};
}"""
# A live part may be drawn anew meanwhile: what it is tells a control, not which object it is.
KEY = """one => [one.tagName, one.type === "radio" ? "" : one.id, one.name || "",
  one.getAttribute("href") || one.formAction || "", (one.textContent || "").trim()].join(" ")"""


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "there is no chromium: script/bootstrap installs it"
    with sync_playwright() as playwright:
        # A sandbox of its own is not to be had by root, who runs these tests.
        browser = playwright.chromium.launch(
            executable_path=path,
            chromium_sandbox=False,
            args=["--disable-gpu", *more],
            timeout=90_000,
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and all that went wrong on it: errors in the console (the browser tells there what
    the policy of the pages refused), scripts that failed, answers that were errors."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.wrong: list[str] = []
        page.set_default_timeout(ANSWER_WAIT_MS)
        page.emulate_media(reduced_motion="reduce")  # colours on their way would be judged
        page.on("console", lambda one: self._note(one.type in ("error", "warning"), one.text))
        page.on("pageerror", lambda error: self._note(True, f"script: {error}"))
        page.on("response", lambda one: self._note(one.status >= 400, f"{one.status} {one.url}"))
        page.on("request", lambda one: self._note(not self._is_ours(one.url), f"asks {one.url}"))

    def _note(self, is_wrong: bool, text: str) -> None:
        if is_wrong:
            self.wrong.append(f"{self.page.url}: {text}")

    def _is_ours(self, url: str) -> bool:
        return url.startswith((f"{self.url}/", "data:"))

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def navigation(self) -> list[str]:
        """The paths of all pages, as the page itself offers them."""
        links = self.page.locator("header a[href]")
        paths: list[str] = links.evaluate_all("all => all.map(one => one.getAttribute('href'))")
        return list(dict.fromkeys(paths))

    def leads_to(self) -> dict[str, str]:
        """Pages that the text of this page leads to, by what they are: one of many revisions, or
        one deed of many, is enough."""
        links = self.page.locator("main a[href^='/']")
        paths: list[str] = links.evaluate_all("all => all.map(one => one.getAttribute('href'))")
        return {NUMBER.sub("/N", path.partition("?")[0]): path for path in reversed(paths)}

    def first_paint_ms(self) -> float:
        """Of content, since the navigation began (W3C Paint Timing)."""
        paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        # Not wait_for_function(): it would be evaluated in the page, whose policy forbids it.
        return float(wait_until(lambda: self.page.evaluate(paint), 15, "the page is painted"))

    def weight_kb(self) -> float:
        """All that came over the wire for it so far; what was cached has no weight."""
        entries = "['navigation', 'resource'].flatMap(one => performance.getEntriesByType(one))"
        return (
            float(self.page.evaluate(f"{entries}.reduce((sum, one) => sum + one.transferSize, 0)"))
            / 1e3
        )

    # ------------------------------------------------------------------- asked of every page

    def faults(self, widths: tuple[int, ...] = WIDTHS) -> list[str]:
        """Of the page that is shown: how it looks in each width and scheme."""
        self.page.evaluate(AXE)
        found: list[str] = []
        for width in widths:
            self.page.set_viewport_size({"width": width, "height": 900})
            if self.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{self.page.url}: scrolls sideways at {width} px")
            self.page.emulate_media(color_scheme="light")
            found += self._violations(f"{width} px, light", "{}")
            self.page.emulate_media(color_scheme="dark")  # changes nothing but colours
            found += self._violations(f"{width} px, dark", "{runOnly: ['color-contrast']}")
        self.page.emulate_media(color_scheme="light")
        return found

    def _violations(self, how: str, options: str) -> Iterator[str]:
        done = self.page.evaluate(f"axe.run({options})")
        for rule in done["violations"]:
            for node in rule["nodes"]:
                where = f"{self.page.url}, {how}: {node['html'][:200]}"
                yield f"{where}: {rule['id']}: {node['failureSummary']}"

    def out_of_reach(self) -> list[str]:
        """What Tab does not reach, or reaches without showing it."""
        self.page.evaluate("document.activeElement.blur()")
        wanted = set(self._ask(CONTROLS))
        found: list[str] = []
        missing = set(wanted)
        for _ in range(len(wanted) * 2 + 10):
            if not missing:
                break
            self.page.keyboard.press("Tab")
            focused = self._ask(FOCUSED)
            missing.discard(focused["key"])
            if focused["key"] in wanted and not focused["seen"]:
                found.append(f"{self.page.url}: the focus is not seen: {focused['key']}")
        return found + [f"{self.page.url}: Tab does not reach: {key}" for key in missing]

    def _ask(self, script: str) -> Any:
        return self.page.evaluate(script.replace("KEY", KEY))


@contextmanager
def visit(context: BrowserContext, url: str, name: str) -> Iterator[Watched]:
    """A page of its own; a failure leaves a picture of it."""
    page = context.new_page()
    watched = Watched(page, url)
    try:
        yield watched
        if watched.wrong:
            raise AssertionError("\n".join(watched.wrong))
    except BaseException:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(
            path=SCREENSHOTS / f"{re.sub(r'[^a-z0-9]+', '-', name)}.png", full_page=True
        )
        raise
    finally:
        page.close()
