"""Draw the two pictures of the page: python -m tests.draw_preview

kd/demo/preview.png is what other sites show of a link to it, kd/demo/screenshot.png what the README shows.
"""

from playwright.sync_api import sync_playwright

from kd.demo.preview import PREVIEW
from tests.serving import CHROMIUM, CHROMIUM_FLAGS, serve

PICTURES = {
    PREVIEW: {"width": 1200, "height": 630},  # what sites that show previews ask for
    PREVIEW.with_name("screenshot.png"): {"width": 1280, "height": 660},
}


def main() -> None:
    with serve() as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
        for path, size in PICTURES.items():
            page = browser.new_page(viewport=size)
            page.goto(f"{address.rstrip('/')}/?T=4")
            page.wait_for_selector("#soft-targets-table tbody tr")
            page.wait_for_load_state("networkidle")
            page.screenshot(path=path, animations="disabled")
            print(path)
        browser.close()


if __name__ == "__main__":
    main()
