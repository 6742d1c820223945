// Keys of the whole desk: / finds, n adds, e edits, ? tells the keys, arrows turn pages. Never while one types.
const typing = (target) => target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (typing(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const act = {
    "/": () => (document.querySelector("[data-search]") ?? document.querySelector("[data-quick-search]"))?.select(),
    "?": () => document.getElementById("keys").showModal(),
    n: () => document.querySelector("[data-key=n]")?.click(),
    e: () => document.querySelector("[data-key=e]")?.click(),
    ArrowLeft: () => document.querySelector(".pager [rel=prev]")?.click(),
    ArrowRight: () => document.querySelector(".pager [rel=next]")?.click(),
  }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});
