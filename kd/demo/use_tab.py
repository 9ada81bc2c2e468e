"""The tab "Use it", the student: code that runs as it is shown, what the network weighs, and what it cannot."""

import html
from pathlib import Path

import gradio as gr

from kd import cifar10
from kd.demo.crowd import MAX_IMAGES
from kd.demo.documents import link, space_address
from kd.inference import Trio
from kd.models import architecture_name
from kd.results import amount, network_results, read_results, the_test_images

PROJECT = Path(__file__).resolve().parents[2]
LISTED = 20  # classes that are named
ADDRESS = "http://127.0.0.1:7860/"  # in the code, until the browser puts the page's own in its place

PYTHON = """from kd.classifier import Classifier

student = Classifier.from_pretrained("{distilled}")
print(student.classify("{picture}"))"""
CLIENT = f"""from gradio_client import Client, handle_file

page = Client("{ADDRESS}")
answer = page.predict(handle_file("photo.jpg"), 4.0, api_name="/classify")
print(answer["models"]["distilled"]["label"])"""
CURL = f"""file=$(curl -s -F files=@photo.jpg {ADDRESS}gradio_api/upload | cut -d '"' -f 2)
event=$(curl -s {ADDRESS}gradio_api/call/classify -H "Content-Type: application/json" \\
    -d "{{\\"data\\": [{{\\"path\\": \\"$file\\", \\"meta\\": {{\\"_type\\": \\"gradio.FileData\\"}}}}, 4.0]}}" | cut -d '"' -f 4)
curl -s -N {ADDRESS}gradio_api/call/classify/$event"""  # noqa: E501 (as it stands on the page)


def build_use(trio: Trio) -> None:
    """The tab; its code names the address that the visitor's browser has of this page."""
    with gr.Tab("Use it") as tab:
        said = f"<p>{html.escape(facts(trio))}</p>{code(trio.folder, _knows_cifar10(trio))}"
        text = gr.HTML(said, elem_id="use")
    tab.select(
        None, text, text, api_visibility="private",
        js=f"(text) => text.replaceAll('{ADDRESS}', location.origin + location.pathname)",
    )  # fmt: skip


def code(checkpoints: Path, knows_cifar10: bool) -> str:
    """The student in one's own program: HTML, not Markdown, whose code the page's first picture would wait for.

    A folder of checkpoints outside the project goes by a word: its path is the host's own.
    """
    inside = checkpoints.resolve().is_relative_to(PROJECT)
    where = "" if inside else ", with this page's networks in <code>FOLDER</code>"
    source = f" (<code>git clone {html.escape(space)}</code>)" if (space := space_address()) else ""
    distilled = f"{checkpoints.resolve().relative_to(PROJECT).as_posix() if inside else 'FOLDER'}/distilled"
    export, picture, data = f"python -m train.export {distilled} --output student", "kd/demo/examples/ship.png", ""
    if not knows_cifar10:
        export, picture = f"{export} --data-dir DATA", "photo.jpg"
        data = ", with what it was trained on in <code>DATA</code> (or the word <code>digits</code>),"
    return f"""
<h3>In Python</h3>
<p>In a folder with this project's files{source}, after <code>pip install .</code> there{where}:</p>
<pre tabindex="0"><code>{html.escape(PYTHON.format(distilled=distilled, picture=picture))}</code></pre>
<h3>From this page, in Python</h3>
<p>All three networks answer <code>photo.jpg</code>, a picture of yours, with <code>pip install gradio_client</code>
alone; a list of up to {MAX_IMAGES} pictures gets a list of answers.</p>
<pre tabindex="0"><code>{html.escape(CLIENT)}</code></pre>
<h3>From this page, with curl</h3>
<pre tabindex="0"><code>{html.escape(CURL)}</code></pre>
<h3>Without Python</h3>
<p><code>{html.escape(export)}</code>{data} writes it as ONNX, which runs in a browser, on a phone and in most
languages; {link("export.md")} has the options.</p>
"""


def facts(trio: Trio) -> str:
    """What the distilled student is, weighs and knows, in a paragraph; measured figures where they were measured."""
    config, results = trio.configs["distilled"], read_results(trio.folder)
    weighs = f"{in_words(trio.parameters['distilled'])} parameters"
    measured, ours = "", _knows_cifar10(trio)
    of_data = the_test_images(config["data"]["name"])
    end = "CIFAR-10's. Code and weights are" if ours else "these. The code is"
    count = "ten" if len(trio.classes) == 10 else len(trio.classes)
    known = ", ".join(trio.classes[:LISTED]) + (" and others" if len(trio.classes) > LISTED else "")
    if results and network_results(results, config):
        model = results["models"]["distilled"]
        weighs += f", {in_words(model['macs'])} multiply-accumulates an image, {amount(model['bytes'])}B on disk"
        measured = (
            f" It gets {model['accuracy']:.1%} of {of_data} right and takes {model['latency_ms']:.1f} ms "
            f"each on one core ({results.get('machine', 'of an unknown machine')})."
        )
    return (
        f"The distilled student is a {architecture_name(config['architecture'])}: {weighs}.{measured} It sees "
        f"{trio.image_size} × {trio.image_size} pixels and answers with one of {count} classes whatever they show "
        f"({known}); expect less on other photographs than on "
        f"{end} under the MIT licence."
    )


def _knows_cifar10(trio: Trio) -> bool:
    return trio.configs["distilled"]["data"]["name"] == cifar10.NAME


def in_words(number: float) -> str:
    """A number of parameters or operations: 2.2 million, or 1,350."""
    return f"{number / 1e6:.1f} million" if number >= 1e5 else f"{number:,}"
