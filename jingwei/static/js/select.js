// Controls that search while one types: long drop-downs (data-select) and references to other rows (data-reference).
const words = {
  no_results: () => '<div class="no-results">没有符合的选项</div>',
  loading: () => '<div class="no-results">正在查找…</div>',
};

function reference(input) {
  const { reference: address, chosen } = input.dataset;
  const options = input.value ? [{ value: input.value, text: chosen || input.value }] : [];
  const ask = (typed) => {
    const url = new URL(address, location.href);
    url.searchParams.set("q", typed);
    return fetch(url, { headers: { Accept: "application/json" } }).then((answer) => answer.json());
  };
  let settled = false; // chosen: an answer that comes later would open the list again, over the rest of the form
  const goOn = () => { settled = false; };
  new TomSelect(input, {
    maxItems: 1,
    create: false,
    options,
    searchField: [], // the server has searched already
    preload: "focus",
    loadThrottle: 250,
    placeholder: input.placeholder,
    plugins: ["clear_button"],
    shouldLoad: () => true,
    onInitialize() {
      for (const act of ["pointerdown", "keydown"]) this.control.addEventListener(act, goOn, { capture: true });
    },
    onFocus: goOn,
    onItemAdd: () => { settled = true; },
    onDropdownOpen() {
      if (settled) this.close(false);
    },
    load(typed, show) {
      this.clearOptions();
      ask(typed).then((answer) => show(answer.options), () => show());
    },
    render: {
      ...words,
      option: (row, escape) => `<div>${escape(row.text)}${row.hint ? ` <small>${escape(row.hint)}</small>` : ""}</div>`,
    },
  });
}

function select(control) {
  new TomSelect(control, {
    create: false,
    maxOptions: 500,
    hidePlaceholder: true,
    placeholder: control.dataset.placeholder ?? control.querySelector("option[value='']")?.text,
    plugins: control.multiple ? ["remove_button"] : [],
    render: words,
  });
}

function dress(within) {
  for (const input of within.querySelectorAll("input[data-reference]:not(.tomselected)")) reference(input);
  for (const control of within.querySelectorAll("select[data-select]:not(.tomselected)")) select(control);
}

dress(document);
document.addEventListener("htmx:afterSettle", (event) => dress(event.detail.elt));
