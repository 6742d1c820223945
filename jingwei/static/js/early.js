// Before the page is drawn: that scripts run, and the colours where the browser rather than a choice decides.
document.documentElement.classList.add("js");
if (!document.documentElement.dataset.bsTheme && matchMedia("(prefers-color-scheme: dark)").matches) {
  document.documentElement.dataset.bsTheme = "dark";
}
