"""Open the built site in headless Chromium: links, navigation, search, copy buttons, and pictures of pages.

sphinx-build -W docs docs/_build && python docs/check_site.py docs/_build screenshots

It needs the extra ``docs-test`` and a Chromium: that of the system (``--browser``), or playwright's own.
"""

import argparse
import functools
import shutil
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urldefrag, urljoin

from playwright.sync_api import sync_playwright

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
PICTURES = {
    "index": "index.html",
    "quickstart": "quickstart.html",
    "datasets": "datasets.html",
    "results": "results.html",
}
PICTURES |= {
    "figures": "figures.html",
    "reference": "reference/vireid.models.mun.html",
    "table": "comparing-numbers.html",
}


class Quiet(SimpleHTTPRequestHandler):
    """Serve without writing a line for every file."""

    def log_message(self, *arguments):
        """Write nothing."""


def serve(folder):
    """Serve a folder on a free port of this machine; return the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/"


def require(condition, message):
    """End the script with a message where something is wrong."""
    if not condition:
        sys.exit(message)


def check_navigation(page, address):
    """Follow every link of the navigation and of the pages, with its anchor; return the pages."""
    waiting, seen, broken = [urljoin(address, "index.html")], {}, []
    wanted = []
    while waiting:
        url = waiting.pop()
        if url in seen or not url.endswith(".html") or "/_modules/" in url:
            continue
        response = page.goto(url, wait_until="domcontentloaded")
        if response.status != 200:
            broken.append(f"{response.status} {url}")
        seen[url] = set(page.eval_on_selector_all("[id]", "all => all.map(e => e.id)"))
        for link in page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)"):
            target, anchor = urldefrag(link)
            if target.startswith(address):
                waiting.append(target)
                wanted.append((url, target, anchor))
    for url, target, anchor in wanted:
        if anchor and target in seen and anchor not in seen[target]:
            broken.append(f"#{anchor} of {target} from {url}")
    require(not broken, "\n".join(broken))
    return sorted(seen)


def check_search(page, address):
    """Search for a class and for a word of the text."""
    for word, expected in (("IdentityAlignmentLoss", "reference/"), ("threshold", "own-cameras")):
        page.goto(urljoin(address, f"search.html?q={word}"))
        page.wait_for_selector(f'#search-results li a[href*="{expected}"]', timeout=20_000)  # results come one by one


def check_copy(context, page, address):
    """Copy the first block of the quick start."""
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    page.goto(urljoin(address, "quickstart.html"))
    page.hover("div.highlight >> nth=0")
    page.click("button.copybtn >> nth=0")
    copied = page.evaluate("navigator.clipboard.readText()")
    require("examples/train.py" in copied, f"copied {copied!r}")


def check_width(page):
    """Require that a phone scrolls down only, and that the numbers of tables stay on one line."""
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    require(wide <= 1, f"{page.url} is {wide} pixels too wide")
    lines = "cell => cell.firstElementChild?.offsetHeight / parseFloat(getComputedStyle(cell).lineHeight)"
    broken = page.eval_on_selector_all(
        "td.text-right", f"all => all.filter(c => ({lines})(c) > 1.5).map(c => c.innerText)"
    )
    require(not broken, f"{page.url} breaks numbers: {broken[:5]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path, help="folder of the built site")
    parser.add_argument("output", type=Path, help="folder for the pictures")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="a Chromium; by default that of the system")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    address = serve(args.site)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.browser, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        pages = check_navigation(page, address)
        print(len(pages), "pages, no broken link")
        check_search(page, address)
        check_copy(context, page, address)
        print("search and copy work")
        for size, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                options = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
                view = browser.new_context(**options).new_page()
                for name, path in PICTURES.items():
                    view.goto(urljoin(address, path))
                    view.screenshot(path=args.output / f"{name}-{size}-{scheme}.png", full_page=name != "reference")
                    check_width(view)
        for url in pages:
            view.goto(url)  # in dark mode on a phone
            check_width(view)
        require(not errors, f"scripts failed: {errors}")
        browser.close()
    print(f"{args.output} holds the pictures")


if __name__ == "__main__":
    main()
