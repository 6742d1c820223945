// Forms: errors in sight, no work lost, parts that belong to a tick.

document.querySelector("[data-focus]")?.focus();

// A search field asks while one types; told again when it is left, it would ask twice.
document.addEventListener("change", (event) => event.target.matches("[data-search]") && event.stopPropagation(), true);

// A filled-in form asks before it is left.
let changed = false;
document.addEventListener("input", (event) => {
  if (event.target.closest("form[data-guard]")) changed = true;
});
document.addEventListener("submit", () => {
  changed = false;
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-leave]")) changed = false;
});
window.addEventListener("beforeunload", (event) => {
  if (changed) event.preventDefault();
});

// <input type="checkbox" data-shows="#part">: the part is there while the box is ticked.
const follow = (box) => {
  for (const part of document.querySelectorAll(box.dataset.shows)) part.hidden = !box.checked;
};
document.querySelectorAll("[data-shows]").forEach(follow);
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-shows]")) follow(event.target);
});
