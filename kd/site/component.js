// A component of the Gradio page where there is no Gradio: it gets what Gradio gives it there.

// build: the component's script as one function. element: its root, which stands in the page already. props: what it
// shows. trigger: called with the name of an event and its data.
// Returns a function that changes one of the props, and tells the component.
export function component(build, element, props, trigger = () => {}) {
  const watching = []; // who wants to know when a prop changes
  build(element, trigger, props, (name, callback) => watching.push({ name, callback }));
  return (changed, value) => {
    props[changed] = value;
    for (const { name, callback } of watching) if (name === changed) callback();
  };
}
