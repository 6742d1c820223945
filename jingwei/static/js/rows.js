// The rows of a list: walking them by keys, ticking them, and the bar that acts on the ticked ones.
const rows = () => [...document.querySelectorAll("[data-rows] tbody tr")];
const current = () => document.querySelector("[data-rows] tbody tr.current");

function walk(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.indexOf(current());
  const next = all[at < 0 ? 0 : Math.min(all.length - 1, Math.max(0, at + step))];
  current()?.classList.remove("current");
  next.classList.add("current");
  next.querySelector("[data-open]")?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  const inRow = event.target.closest("[data-rows], body");
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !inRow) return;
  if (event.target.matches("input:not([type=checkbox]), textarea, select, summary") || document.querySelector("dialog[open]")) return;
  const act = {
    j: () => walk(1),
    k: () => walk(-1),
    ArrowDown: () => walk(1),
    ArrowUp: () => walk(-1),
    x: () => current()?.querySelector("[data-tick]")?.click(),
  }[event.key];
  if (act && document.querySelector("[data-rows]")) {
    event.preventDefault();
    act();
  }
});

function count() {
  const bar = document.querySelector("[data-bulk]");
  if (!bar) return;
  const ticks = [...document.querySelectorAll("[data-tick]")];
  const ticked = ticks.filter((tick) => tick.checked);
  const whole = bar.querySelector("[data-bulk-all]");
  const everything = whole?.checked;
  bar.classList.toggle("on", everything || ticked.length > 0);
  bar.querySelector("[data-bulk-count]").textContent = everything ? whole.dataset.total : ticked.length;
  for (const tick of ticks) {
    tick.disabled = everything; // so that only the selection is sent, not its first page again
    tick.closest("tr").classList.toggle("ticked", everything || tick.checked);
  }
  const all = document.querySelector("[data-tick-all]");
  if (all) {
    all.checked = ticked.length > 0 && ticked.length === ticks.length;
    all.indeterminate = ticked.length > 0 && ticked.length < ticks.length;
  }
}

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-tick-all]")) {
    for (const tick of document.querySelectorAll("[data-tick]")) tick.checked = event.target.checked;
  }
  if (event.target.matches("[data-tick], [data-tick-all], [data-bulk-all]")) count();
});

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-bulk-clear]")) return;
  for (const box of document.querySelectorAll("[data-tick], [data-bulk-all]")) box.checked = false;
  count();
});

document.addEventListener("htmx:afterSettle", count);
count();
