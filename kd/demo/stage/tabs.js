// ---- the page's tabs, which are Gradio's, and what one tells another ---------------------------------

// Tells the stage which photo is wanted from now on, by its file.
function announcePhoto(file) {
  document.dispatchEvent(new CustomEvent("photo", { detail: file }));
}

// The focus goes along, as what had it may be hidden from now on. Copies by which Gradio measures the tabs may come
// before them.
function openTab(label) {
  const tab = [...document.querySelectorAll("[role=tab]")].findLast(({ textContent }) => textContent.trim() === label);
  tab?.click();
  tab?.focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
}
