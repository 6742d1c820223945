/* One position on a map: chosen in a form (data-position), shown on a record (data-map-point="longitude,latitude"). */
import { Marker } from "../vendor/maplibre/maplibre-gl.mjs";
import { colour, load, NoMap, openMap } from "./map.js";

const CLOSE = 14; // zoom at which a known position is shown
const SMALL = { scrollZoom: false }; // the wheel scrolls the page

function tell(element, problem) {
  element.classList.remove("map-small");
  element.textContent = problem instanceof NoMap ? problem.message : "地图没有打开，请刷新页面重试。";
}

const marker = (element, draggable) => new Marker({ color: colour(element, "chosen"), draggable });

async function show(element) {
  const at = element.dataset.mapPoint.split(",").map(Number);
  const map = await openMap(element, { ...SMALL, bounds: null, center: at, zoom: CLOSE });
  marker(element).setLngLat(at).addTo(map);
  element.dataset.mapReady = "";
}

async function pick(picker) {
  const part = (name) => picker.querySelector(`[data-position-${name}]`);
  const form = picker.closest("form").elements;
  const element = picker.querySelector("[data-map]");
  picker.closest(".fields").append(picker); // below both numbers, in their full width
  const said = part("said").textContent;
  const map = await openMap(element, SMALL).catch((problem) => void tell(element, problem));
  const pin = marker(element, true);

  /** Ask where this is, on the map and as it is stored; undefined where it is nowhere. */
  async function ask(longitude, latitude, system = "") {
    const told = new URLSearchParams({ longitude, latitude, system });
    return load(`${picker.dataset.convert}?${told}`).catch((refusal) => void (part("said").textContent = refusal.message));
  }

  function stand(told, move) {
    if (!told) return;
    if (map) pin.setLngLat(told.map).addTo(map);
    if (move) map?.easeTo({ center: told.map, zoom: Math.max(map.getZoom(), CLOSE) });
    const [street] = told.regions;
    part("said").textContent = street ? `在${told.regions.join(" ")}。` : "不在任何辖区的边界之内，请核对。";
    if (street && !form.street.value) form.street.value = street;
    else if (street && form.street.value !== street) part("said").textContent += `与所填街道“${form.street.value}”不同，请核对。`;
  }

  function fill(told, move) {
    if (!told) return;
    [form.longitude.value, form.latitude.value] = told.stored;
    form.latitude.dispatchEvent(new Event("input", { bubbles: true })); // the form has been changed
    stand(told, move);
  }

  const typed = async () => {
    if (form.longitude.value && form.latitude.value) stand(await ask(form.longitude.value, form.latitude.value, "WGS-84"), true);
  };
  for (const side of [form.longitude, form.latitude]) side.addEventListener("change", typed);
  map?.on("click", async ({ lngLat }) => fill(await ask(lngLat.lng, lngLat.lat)));
  pin.on("dragend", async () => {
    const { lng, lat } = pin.getLngLat();
    fill(await ask(lng, lat));
  });
  part("convert").addEventListener("click", async () => {
    const numbers = part("pasted").value.split(/[\s,，;；]+/).filter(Boolean);
    fill(await ask(numbers[0] ?? "", numbers[1] ?? "", part("system").value), true);
  });
  part("clear").addEventListener("click", () => {
    form.longitude.value = form.latitude.value = "";
    form.latitude.dispatchEvent(new Event("input", { bubbles: true }));
    part("said").textContent = said;
    pin.remove();
  });
  await typed();
  element.dataset.mapReady = "";
}

for (const element of document.querySelectorAll("[data-map-point]")) show(element).catch((problem) => tell(element, problem));
for (const picker of document.querySelectorAll("[data-position]")) pick(picker);
