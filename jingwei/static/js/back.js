// Back to the list as it was left, with its filters and page, where that is where one came from.
document.addEventListener("click", (event) => {
  const back = event.target.closest("[data-back]");
  if (!back || document.referrer.split("?")[0] !== back.href) return;
  event.preventDefault();
  history.back();
});
