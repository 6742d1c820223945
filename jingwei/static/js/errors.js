// A part of a page that was refused or failed: what the answer says stands where one is looking.
function say(text) {
  const place = document.querySelector("dialog[open]") ?? document.getElementById("main");
  let alert = place.querySelector("[data-error]");
  if (!alert) {
    alert = document.createElement("div");
    alert.className = "alert alert-danger";
    alert.role = "alert";
    alert.dataset.error = "";
    place.prepend(alert);
  }
  alert.textContent = text;
}

document.addEventListener("htmx:responseError", ({ detail }) => {
  if (detail.requestConfig.headers["X-Background"]) return; // nobody asked for it
  const page = new DOMParser().parseFromString(detail.xhr.responseText, "text/html");
  say([...page.querySelectorAll("h1, h1 + p")].map((part) => part.textContent.trim()).join("："));
});

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (!detail.requestConfig.headers["X-Background"]) document.querySelector("[data-error]")?.remove();
});
