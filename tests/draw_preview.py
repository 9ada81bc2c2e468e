"""Draw kd/demo/preview.png, which other sites show of a link to the page: python -m tests.draw_preview"""

from playwright.sync_api import sync_playwright

from kd.demo.door import PREVIEW
from tests.serving import CHROMIUM, CHROMIUM_FLAGS, serve

SIZE = {"width": 1200, "height": 630}  # what sites that show previews ask for


def main() -> None:
    with serve() as (address, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport=SIZE)
        page.goto(address)
        page.wait_for_selector("#soft-targets-table tbody tr")
        page.locator("#live").scroll_into_view_if_needed()
        page.screenshot(path=PREVIEW, animations="disabled")
        browser.close()
    print(PREVIEW)


if __name__ == "__main__":
    main()
