// Maps that show nothing but what all maps are drawn on: <div data-map data-map-alone …>.
import { NoMap, openMap } from "./map.js";

for (const element of document.querySelectorAll("[data-map-alone]")) {
  openMap(element, { scrollZoom: false }).then(
    () => (element.dataset.mapReady = ""),
    (problem) => (element.textContent = problem instanceof NoMap ? problem.message : "地图没有打开，请刷新页面重试。"),
  );
}
