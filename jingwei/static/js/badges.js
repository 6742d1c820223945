// The small numbers of the frame: the server sends them beside the page, so that no page waits for them.
document.addEventListener("htmx:afterSwap", () => {
  const numbers = document.querySelector("[data-badges]");
  if (!numbers) return;
  for (const badge of document.querySelectorAll("[data-badge]")) {
    const number = Number(numbers.dataset[badge.dataset.badge]);
    badge.hidden = !number;
    badge.textContent = number;
  }
});
