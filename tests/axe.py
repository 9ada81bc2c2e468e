"""axe-core's checks of the page, in each setting."""

from axe_playwright_python.sync_playwright import Axe

# Gradio's own parts that we cannot mend from here.
NOT_OURS = [
    ["footer"],  # its links' grey has a contrast of 2.4
]
SETTINGS = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
    "zoomed to 200 %": {"viewport": {"width": 640, "height": 500}},
}


def findings(page):
    """What axe-core finds serious or critical, with the elements."""
    violations = Axe().run(page, {"exclude": NOT_OURS}).response["violations"]
    return [
        (violation["id"], [node["target"] for node in violation["nodes"]])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]
