// ---- the page's tabs, which are Gradio's ---------------------------------------------------------------------

// Copies by which Gradio measures the tabs come before them; on a narrow page a tab may lie in a menu behind them.
function openTab(label) {
  [...document.querySelectorAll("[role=tab], .overflow-dropdown button")].findLast(({ textContent }) => textContent.trim() === label)?.click();
  window.scrollTo({ top: 0 });
}
