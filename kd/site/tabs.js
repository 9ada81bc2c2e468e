// The page's tabs, one for each section of <main>, by their names, as the Gradio page has them. Arrow keys go from one
// to the next (WAI-ARIA Authoring Practices, "Tabs").

// list: the element that the tabs go into. panels: the sections; those that are not open are hidden.
// Returns {open(panel)}.
export function tabsOf(list, panels) {
  const tabs = panels.map((panel) => {
    const tab = Object.assign(document.createElement("button"), { type: "button", id: `tab-${panel.id}`, textContent: panel.getAttribute("aria-label") });
    panel.setAttribute("role", "tabpanel");
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", panel.id);
    tab.addEventListener("click", () => open(panel));
    return tab;
  });

  function open(opened) {
    panels.forEach((panel, position) => {
      panel.hidden = panel !== opened;
      tabs[position].setAttribute("aria-selected", String(panel === opened));
      tabs[position].tabIndex = panel === opened ? 0 : -1;
    });
  }

  list.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key], at = tabs.indexOf(event.target);
    if (!by || at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const next = tabs[(at + by + tabs.length) % tabs.length];
    next.focus();
    next.click();
    event.preventDefault();
  });
  list.replaceChildren(...tabs);
  open(panels[0]);
  return { open };
}
