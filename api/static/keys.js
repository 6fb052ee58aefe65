// Keys of one letter. They rest while somebody types, while a dialog is open, and with Ctrl or Alt.

const MOVES = new Set(["j", "k"]);

export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.repeat && !MOVES.has(event.key)) return; // a key that is held down is meant once
    if (document.querySelector("dialog[open]") !== null || types(event.target)) return;
    const action = actions[event.key];
    if (action === undefined) return;
    // A button, a link or a chart that has the focus keeps what it does on Enter.
    if (event.key === "Enter" && event.target.closest("a, button, summary, [role=img]") !== null) return;
    event.preventDefault();
    action();
  });
}

function types(target) {
  if (target.isContentEditable || target.matches("textarea, select")) return true;
  return target.matches("input") && !["radio", "checkbox", "button"].includes(target.type);
}
