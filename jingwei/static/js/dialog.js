// The dialog that parts of pages are loaded into. Without scripts the same links open pages of their own.
const dialog = document.getElementById("dialog");

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target === dialog && !dialog.open) dialog.showModal();
  if (event.detail.target === dialog) dialog.querySelector("[autofocus]")?.focus();
});

// What the dialog's form was asked for has come in elsewhere on the page.
document.addEventListener("htmx:beforeSwap", (event) => {
  const from = event.detail.requestConfig.elt;
  if (dialog?.contains(from) && event.detail.target !== dialog) dialog.close();
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-dialog-close]")) event.target.closest("dialog")?.close();
  if (event.target.matches("dialog[data-dialog]")) event.target.close(); // on the backdrop
  if (event.target.closest("[data-keys-help]")) document.getElementById("keys").showModal();
  if (event.target.closest("[data-dismiss]")) event.target.closest(".alert").remove();
});
