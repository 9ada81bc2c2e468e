"""A small folder that keeps every rule of a Space, for tests to break."""

FRONT_MATTER = """title: Cats
emoji: 🐈‍⬛
colorFrom: indigo
colorTo: green
sdk: gradio
sdk_version: 6.31.0
python_version: "3.11"
app_file: app.py
license: mit
short_description: Which cat is it
"""

# Stands for an app: shows a page, and does what a test adds.
PAGE = """
import http.server, os
class Page(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass
http.server.HTTPServer(("0.0.0.0", int(os.environ["GRADIO_SERVER_PORT"])), Page).serve_forever()
"""


def write_small_space(folder):
    """Fill a new folder."""
    folder.mkdir()
    write_front_matter(folder, FRONT_MATTER)
    (folder / "app.py").write_text(PAGE)
    (folder / "LICENSE").write_text("MIT")
    (folder / "requirements.txt").write_text("# what it needs\ngradio>=6.31,<7\npillow>=11.3  # photos\n")
    (folder / "pyproject.toml").write_text('[project]\nlicense = "MIT"\nrequires-python = ">=3.11"\n')
    return folder


def write_front_matter(folder, text):
    """Write a README.md with this YAML block."""
    (folder / "README.md").write_text(f"---\n{text}---\n\n# Cats\n", "utf-8")


def change(folder, field, line):
    """Put `line` in the place of a field's line."""
    lines = [line if old.startswith(field + ":") else old for old in FRONT_MATTER.splitlines()]
    write_front_matter(folder, "\n".join(filter(None, lines)) + "\n")
