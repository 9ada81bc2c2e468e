"""Many images at once: a table of the three networks' predictions, those that differ first, and the same as CSV.

The view itself is gallery.html, gallery.css and gallery.js beside this file. File names come from
strangers: they reach the page as data and are shown as plain text, never as markup.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import gradio as gr

from kd.demo.crowd import MAX_IMAGES, PHOTOS, TURNS
from kd.demo.pictures import picture_url
from kd.demo.stage_view import script, style
from kd.demo.uploads import announcing, nothing_came, path_of, read_upload
from kd.inference import BATCH, Trio
from kd.models import ROLE_NAMES, ROLES
from kd.photo import PhotoError

HERE = Path(__file__).parent
MAX_NAME = 100  # characters of a file name that are shown
# What makes a spreadsheet take a cell for a formula (OWASP, "CSV Injection"), full-width forms included.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

INTRODUCTION = f"""Choose up to {MAX_IMAGES} images, or a folder of them. All three networks answer each from its \
centre square; those on which they differ come first. Click a file's name to open it in the first tab. Images in a \
folder named after a class count as that class."""


def build_gallery(trio: Trio, stage_tab: str) -> gr.HTML:
    """The tab of many images: layout and events; triggers `open` with the {"file"} of a row.

    Args:
        stage_tab: the label of the stage's tab, which the view shows when a row is opened.
    """
    gr.HTML(f"<p>{INTRODUCTION}</p>")  # not Markdown, whose code the first picture would wait for
    files = gr.File(file_count="multiple", file_types=["image"], height=160, label="Images", elem_id="gallery-files")
    folder = gr.UploadButton("Choose a folder", file_count="directory", elem_id="gallery-folder")
    view = gr.HTML(
        None,
        html_template=(HERE / "gallery.html").read_text("utf-8"),
        css_template=style(HERE / "gallery.css"),
        js_on_load=script("elements") + script("mathematics") + script("tabs") + script("gallery", HERE),
        apply_default_css=False,
        elem_id="gallery",
        stage_tab=stage_tab,
    )
    # A folder's files become the chosen ones, and one event answers whatever is chosen: an earlier choice never last.
    folder.upload(None, folder, files, js="(chosen) => [chosen]", show_progress="hidden", api_visibility="private")
    files.change(
        None, files, None, js=announcing("images"),
        trigger_mode="multiple", show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    # Unprocessed, so that our own reader judges each file; the view shows the progress itself.
    answered = files.change(
        partial(predict_files, trio), files, view,
        preprocess=False, show_progress="hidden", trigger_mode="always_last", api_visibility="private",
        **PHOTOS,
    )  # fmt: skip
    answered.failure(None, None, view, js=nothing_came(), api_visibility="private")
    return view


def predict_files(trio: Trio, uploads: list | None) -> Iterator[dict | None]:
    """Let the networks classify many uploads, batch by batch; one that is named more than once is classified once.

    Args:
        uploads: Gradio's descriptions of files.

    Yields:
        {"done": int, "total": int} before each batch, and at the end what the view shows, each with "of": the path of
        the first upload and the number of all, by which the view knows whose it is. None where nothing is chosen.
    """
    uploads = uploads if isinstance(uploads, list) else []
    if not uploads:
        yield None
        return
    of = {"of": [path_of(uploads[0]), len(uploads)]}
    chosen, by_path, rows = uploads[:MAX_IMAGES], {}, []
    while len(rows) < len(chosen):
        yield {"done": len(rows), "total": len(chosen)} | of
        batch = chosen[len(rows) : len(rows) + BATCH]
        new = {path_of(upload): upload for upload in batch if path_of(upload) not in by_path}
        by_path |= zip(new, predict_batch(trio, list(new.values())), strict=True)
        rows += [{**by_path[path_of(upload)], **named(upload, trio.classes)} for upload in batch]
    yield gallery_value(rows, left_out=len(uploads) - len(chosen)) | of


def predict_batch(trio: Trio, uploads: list) -> list[dict]:
    """A row for each upload, in their order.

    Returns:
        {"file": path, "picture": URL, "predictions": {role: {"label", "confidence"}}, "differ": bool, "fits_no_class":
        bool}, or with "problem": sentence where a file cannot be used; without the name, which uploads of one path need
        not share (`named`).
    """
    rows, images = [{"file": path_of(upload)} for upload in uploads], []
    for row, upload in zip(rows, uploads, strict=True):
        try:
            images.append(read_upload(upload, trio.image_size))
            row["picture"] = picture_url(images[-1])
        except PhotoError as error:
            row["problem"] = str(error)
    good = [row for row in rows if "problem" not in row]
    with TURNS.one():
        classified = [each["models"] for each in trio.classify_all(images, temperature=1.0)]
        logits = [models["teacher"]["logits"] for models in classified]
        strange = [trio.fits_no_class(*each) for each in zip(logits, images, strict=True)]
    for row, models, fits_no_class in zip(good, classified, strange, strict=True):
        row["predictions"] = {role: {key: models[role][key] for key in ("label", "confidence")} for role in ROLES}
        row["differ"] = len({models[role]["label"] for role in ROLES}) > 1
        row["fits_no_class"] = fits_no_class
    return rows


def gallery_value(rows: list[dict], left_out: int = 0) -> dict:
    """What the view shows: the rows, where the networks differ first and what is no image last; shares; the CSV."""
    rows = sorted(rows, key=lambda row: 2 if "problem" in row else 0 if row["differ"] else 1)
    return {
        "roles": {role: ROLE_NAMES[role] for role in ROLES},
        "rows": rows,
        "agreement": agreement_with_teacher(rows),
        "right": right_by_folder(rows),
        "left_out": left_out,
        "csv": as_csv(rows),
    }


def agreement_with_teacher(rows: list[dict]) -> dict[str, dict[str, int]]:
    """By student, on how many of the classified images it predicts the teacher's class: {"same": int, "of": int}."""
    classified = [row["predictions"] for row in rows if "predictions" in row]
    return {
        role: {
            "same": sum(predictions[role]["label"] == predictions["teacher"]["label"] for predictions in classified),
            "of": len(classified),
        }
        for role in ROLES
        if role != "teacher"
    }


def right_by_folder(rows: list[dict]) -> dict[str, dict[str, int]]:
    """By network, how many of the classified images of a known class it has right; empty where none is known."""
    known = [(row["label"], row["predictions"]) for row in rows if row.get("label") and "predictions" in row]
    if not known:
        return {}
    return {
        role: {"right": sum(predictions[role]["label"] == label for label, predictions in known), "of": len(known)}
        for role in ROLES
    }


def as_csv(rows: list[dict]) -> str:
    """The rows as CSV (RFC 4180), every cell quoted; a text that a spreadsheet would compute is made plain."""
    text = io.StringIO()
    table = csv.writer(text, quoting=csv.QUOTE_ALL)
    heads = [head for role in ROLES for head in (ROLE_NAMES[role], f"{ROLE_NAMES[role]}: confidence")]
    table.writerow(["file", *heads, "answers differ", "may be none of the classes", "class by folder", "problem"])
    for row in rows:
        predictions = row.get("predictions", {})
        cells = [
            cell
            for role in ROLES
            for cell in (
                (predictions[role]["label"], f"{predictions[role]['confidence']:.4f}") if predictions else ("", "")
            )
        ]
        marks = ["yes" if row.get(mark) else "no" if predictions else "" for mark in ("differ", "fits_no_class")]
        marks += [row.get("label") or "", row.get("problem", "")]
        table.writerow([plain_cell(cell) for cell in (row["name"], *cells, *marks)])
    return text.getvalue()


def plain_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe goes before what looks like one."""
    return "'" + text if text.lstrip(" ").startswith(FORMULA_STARTS) else text


def named(upload: object, classes: Sequence[str]) -> dict:
    """A row's name, and the class by which its folder is named, or None."""
    name = file_name(upload)
    folder = PurePosixPath(name).parent.name.lower()
    by_case = {each.lower(): each for each in classes}
    return {"name": name, "label": by_case.get(folder)}


def file_name(upload: object) -> str:
    """The name of an uploaded file, as its sender gave it, in one line of printable text."""
    upload = upload if isinstance(upload, dict) else {}
    name = str(upload.get("orig_name") or Path(str(upload.get("path") or "")).name)
    name = "".join(letter if letter.isprintable() else "�" for letter in name)
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"
