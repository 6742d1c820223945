/* Charts drawn from the tables beside them, so that both always say the same.
 *
 * <figure data-chart="bar|stack|rank|pie|pyramid|line" data-table="id" data-columns="0,3" data-name="file name">
 * draws these columns of the table's body; a click on a bar follows the link of its cell.
 * <button data-save-chart="id of the figure"> saves the picture.
 */
const SERIES = ["#e8a33d", "#3aa57e", "#c35a6b", "#7a6fc0", "#4aa3c7", "#9a9f45", "#8c8c8c"]; // after the first
const NARROW = 420; // pixels, below which slices have a legend instead of labels
const MOST_LINES = 30; // of a ranking, beyond which it scrolls
const LIKE_ROWS = ["rank", "pyramid"]; // categories from top to bottom

/** {heading, lines: [{label, cells: [{value, text, href}]}]} of a table's chosen columns. */
function read(table, columns) {
  const headings = [...table.tHead.rows[0].querySelectorAll("th")].map((cell) => cell.textContent.trim());
  const rows = [...table.tBodies[0].rows].filter((row) => row.querySelector("th"));
  const first = headings.length - (rows[0]?.querySelectorAll("[data-value]").length ?? 0);
  const lines = rows.map((row) => {
    const cells = [...row.querySelectorAll("[data-value]")];
    return {
      label: row.querySelector("th").textContent.trim(),
      cells: columns.map((column) => ({
        value: cells[column].dataset.value === "" ? null : Number(cells[column].dataset.value),
        text: cells[column].textContent.trim(),
        href: cells[column].querySelector("a")?.href ?? row.querySelector("th a")?.href,
      })),
    };
  });
  return { names: columns.map((column) => headings[first + column]), lines };
}

/** Colours of the page as it is drawn now, light or dark, in the one notation that charts can lighten. */
function colours(figure) {
  const probe = figure.parentElement.appendChild(document.createElement("i"));
  const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const of = (value) => {
    probe.style.color = value;
    pixel.fillStyle = getComputedStyle(probe).color;
    pixel.fillRect(0, 0, 1, 1);
    return `rgb(${pixel.getImageData(0, 0, 1, 1).data.slice(0, 3).join()})`;
  };
  const found = {
    text: of("var(--tblr-body-color)"),
    ground: of("var(--tblr-bg-surface)"),
    faint: of("var(--tblr-border-color)"),
    series: ["var(--tblr-primary)", ...SERIES].map(of),
  };
  probe.remove();
  return found;
}

function series(kind, names, lines) {
  const data = (column) =>
    lines.map((line) => {
      const { value, href } = line.cells[column];
      return { value: kind === "pyramid" && column === 0 && value !== null ? -value : value, href };
    });
  if (kind === "pie") {
    const slices = lines.map((line) => ({ name: line.label, value: line.cells[0].value, href: line.cells[0].href }));
    const label = { formatter: "{b}\n{d}%" };
    return [{ type: "pie", radius: ["42%", "70%"], label, data: slices.filter((slice) => slice.value) }];
  }
  return names.map((name, column) => ({
    name,
    type: kind === "line" ? "line" : "bar",
    stack: kind === "stack" || kind === "pyramid" ? "all" : undefined,
    barMaxWidth: 28,
    symbolSize: 5,
    data: data(column),
  }));
}

function options(kind, { names, lines }, colour, narrow) {
  const percent = lines.some((line) => line.cells[0].text.endsWith("%"));
  const said = (value) => `${Math.abs(value).toLocaleString("zh-CN")}${percent ? "%" : ""}`;
  const text = { color: colour.text };
  const categories = {
    type: "category",
    data: lines.map((line) => line.label),
    inverse: kind === "rank",
    axisLabel: { ...text, fontSize: lines.length > 20 ? 10 : 12, hideOverlap: true, interval: 0 },
    axisTick: { show: false },
    axisLine: { lineStyle: { color: colour.faint } },
  };
  const values = {
    type: "value",
    axisLabel: { ...text, formatter: said },
    splitLine: { lineStyle: { color: colour.faint } },
  };
  const flat = LIKE_ROWS.includes(kind);
  const drawn = {
    color: colour.series,
    backgroundColor: colour.ground,
    textStyle: { ...text, fontFamily: getComputedStyle(document.body).fontFamily },
    animationDuration: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 300,
    aria: { enabled: true },
    // The text of the tip is drawn, not written as HTML with style attributes, which the CSP forbids.
    tooltip: { renderMode: "richText", trigger: kind === "pie" ? "item" : "axis", valueFormatter: said },
    legend: { show: names.length > 1 || (narrow && kind === "pie"), type: "scroll", top: 0, textStyle: text },
    series: series(kind, names, lines).map((one) => ({ ...one, label: { ...text, ...one.label, show: kind === "pie" && !narrow } })),
  };
  if (kind !== "pie") {
    drawn.grid = { left: 8, right: 16, top: names.length > 1 ? 32 : 12, bottom: 4, containLabel: true };
    drawn.xAxis = flat ? values : categories;
    drawn.yAxis = flat ? categories : values;
  }
  if (kind === "rank" && lines.length > MOST_LINES) {
    drawn.dataZoom = [{ type: "slider", yAxisIndex: 0, startValue: 0, endValue: MOST_LINES - 1, width: 16, right: 4, showDetail: false }];
    drawn.grid.right = 32;
  }
  return drawn;
}

function draw(figure) {
  const table = document.getElementById(figure.dataset.table);
  const data = read(table, figure.dataset.columns.split(",").map(Number));
  if (!data.lines.length) return;
  const chart = echarts.init(figure, null, { renderer: "canvas" });
  const paint = () =>
    chart.setOption(options(figure.dataset.chart, data, colours(figure), figure.clientWidth < NARROW), true);
  paint();
  chart.on("click", (event) => event.data?.href && location.assign(event.data.href));
  new ResizeObserver(() => {
    chart.resize();
    paint();
  }).observe(figure);
  new MutationObserver(paint).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  offerPicture(figure, chart);
}

function offerPicture(figure, chart) {
  const button = document.querySelector(`[data-save-chart="${figure.id}"]`);
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = chart.getDataURL({ pixelRatio: 2, backgroundColor: colours(figure).ground });
    link.download = `${figure.dataset.name}.png`;
    link.click();
  });
}

document.querySelectorAll("[data-chart]").forEach(draw);
