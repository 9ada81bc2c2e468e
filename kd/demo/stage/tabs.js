// ---- the page's tabs, which are Gradio's, and what one tells another ---------------------------------

// Tells the stage which photo is wanted from now on, by its file.
function announcePhoto(file) {
  document.dispatchEvent(new CustomEvent("photo", { detail: file }));
}

// Copies by which Gradio measures the tabs may come before them.
function openTab(label) {
  [...document.querySelectorAll("[role=tab]")].findLast(({ textContent }) => textContent.trim() === label)?.click();
  window.scrollTo({ top: 0 });
}
