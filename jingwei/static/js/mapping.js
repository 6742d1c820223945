// In the mapping of columns, what one column has is not offered to another.

const form = document.querySelector("[data-mapping]");
const selects = [...form.querySelectorAll("select")];

function update() {
  const taken = new Set(selects.map((select) => select.value).filter(Boolean));
  for (const select of selects) {
    for (const option of select.options) {
      option.disabled = taken.has(option.value) && option.value !== select.value;
    }
  }
}

form.addEventListener("change", update);
update();
