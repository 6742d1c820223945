// The menu at the left: folded away on a desk by a choice that is kept, a drawer on a phone.
const narrow = matchMedia("(max-width: 61.99rem)");

document.addEventListener("click", (event) => {
  const side = document.getElementById("side");
  if (event.target.closest("[data-side-toggle]")) {
    event.preventDefault();
    if (narrow.matches) {
      side.classList.toggle("out");
    } else {
      const folded = document.body.classList.toggle("folded");
      document.cookie = `side=${folded ? "folded" : ""}; path=/; max-age=31536000; samesite=lax`;
    }
  } else if (event.target.closest("[data-side-close]") || !side?.contains(event.target)) {
    side?.classList.remove("out");
  }
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.getElementById("side")?.classList.remove("out");
});
