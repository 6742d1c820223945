/* Maps: the boundaries of the regions, over tiles where the platform is told of some.
 *
 * <div data-map data-basemap="address" data-worker="address"> becomes a map by `openMap`.
 */
import { LngLatBounds, Map, NavigationControl, ScaleControl, setWorkerUrl } from "../vendor/maplibre/maplibre-gl.mjs";

const CHINA = [[73, 18], [135, 54]];
const DISTRICT = 6, TOWN = 9, COMMUNITY = 12, GRID = 15; // digits of a region's code
const SHADES = [0.15, 0.35, 0.55, 0.75]; // of neighbouring towns
const WORDS = {
  "Map.Title": "地图，用方向键移动，用加号和减号缩放",
  "NavigationControl.ZoomIn": "放大",
  "NavigationControl.ZoomOut": "缩小",
  "ScaleControl.Meters": "米",
  "ScaleControl.Kilometers": "公里",
  "Marker.Title": "位置标记",
};

/** What a map cannot be drawn for, in words for who looks at the page. */
export class NoMap extends Error {}

/** The JSON at an address; NoMap if there is none. */
export async function load(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } }).catch(() => null);
  if (answer?.redirected) location.reload(); // the session has ended
  const type = answer?.headers.get("Content-Type") ?? "";
  if (!type.startsWith("application/json")) throw new NoMap("没有取到地图数据，请刷新页面重试。");
  const told = await answer.json();
  if (!answer.ok) throw new NoMap(told.refusal ?? "没有取到地图数据，请刷新页面重试。");
  return told;
}

/** A colour that the style sheet gives the map, such as "land". */
export function colour(element, name) {
  return getComputedStyle(element).getPropertyValue(`--map-${name}`).trim();
}

export const features = (list) => ({ type: "FeatureCollection", features: list });
export const point = (coordinates, properties = {}) => ({
  type: "Feature",
  properties,
  geometry: { type: "Point", coordinates },
});

/** The smallest bounds around points, null around none. */
export function around(points) {
  return points.reduce((bounds, at) => bounds.extend(at), new LngLatBounds());
}

/** Call `dress(paint)` now and whenever the page turns dark or light; paint(layer, property, name of a colour). */
export function dressed(map, dress) {
  const paint = (layer, property, name) => map.setPaintProperty(layer, property, colour(map.getContainer(), name));
  dress(paint);
  document.addEventListener("theme", () => dress(paint));
}

/** Draw a map in `element`; a promise of it, to which layers can be added. NoMap where there is no WebGL. */
export async function openMap(element, options) {
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new NoMap("这个浏览器不能绘制地图（没有 WebGL）。请换用较新的浏览器，或启用硬件加速。");
  }
  const base = await load(element.dataset.basemap);
  setWorkerUrl(new URL(element.dataset.worker, location.href).href);
  const map = new Map({
    container: element,
    style: style(base),
    locale: WORDS,
    attributionControl: false,
    dragRotate: false,
    pitchWithRotate: false,
    maxPitch: 0,
    maxZoom: 18,
    bounds: extent(base),
    fitBoundsOptions: { padding: 16 },
    ...options,
  });
  map.touchZoomRotate.disableRotation();
  map.keyboard.disableRotation();
  map.addControl(new NavigationControl({ showCompass: false }));
  map.addControl(new ScaleControl());
  if (base.credit) credit(element, base.credit);
  await map.once("style.load");
  dressed(map, dressBase);
  return map;
}

function credit(element, text) {
  const line = document.createElement("p");
  line.className = "map-credit";
  line.textContent = text;
  element.append(line);
}

function extent({ regions }) {
  const corners = regions.flatMap((region) => region.polygons.flatMap(([outer]) => outer));
  return corners.length ? around(corners) : CHINA;
}

/** The lowest and the highest zoom at which the names of a level stand on the map. */
const NAMES = { [DISTRICT]: [0, 9.5], [TOWN]: [9.5, 24], [COMMUNITY]: [12.5, 24], [GRID]: [15, 24] };
const LINES = { [DISTRICT]: [0, 2.5], [TOWN]: [8, 1.5], [COMMUNITY]: [11.5, 0.75], [GRID]: [14, 0.5] }; // from zoom, width

function style({ tiles, regions }) {
  const areas = regions.map(({ code, name, polygons }) => ({
    type: "Feature",
    properties: { code, name, digits: code.length, shade: SHADES[Number(code.slice(DISTRICT, TOWN)) % SHADES.length] },
    geometry: { type: "MultiPolygon", coordinates: polygons },
  }));
  const names = regions
    .filter((region) => region.centre)
    .map(({ code, name, centre }) => point(centre, { name, digits: code.length }));
  const sources = { regions: { type: "geojson", data: features(areas) }, names: { type: "geojson", data: features(names) } };
  const layers = [{ id: "ground", type: "background" }];
  for (const [number, address] of tiles.entries()) {
    sources[`tiles-${number}`] = { type: "raster", tiles: [address], tileSize: 256, maxzoom: 18 };
    layers.push({ id: `tiles-${number}`, type: "raster", source: `tiles-${number}` });
  }
  const of = (digits) => ["==", ["get", "digits"], digits];
  const filled = (id, digits, opacity) => ({ id, type: "fill", source: "regions", filter: of(digits), paint: { "fill-opacity": opacity } });
  layers.push(filled("land", DISTRICT, tiles.length ? 0 : 1)); // tiles stay in sight
  layers.push(filled("towns", TOWN, tiles.length ? 0 : ["get", "shade"]));
  for (const [digits, [minzoom, width]] of Object.entries(LINES).reverse()) {
    const paint = { "line-width": width };
    layers.push({ id: `line-${digits}`, type: "line", source: "regions", filter: of(Number(digits)), minzoom, paint });
  }
  for (const [digits, [minzoom, maxzoom]] of Object.entries(NAMES)) {
    const layout = {
      "text-field": ["get", "name"],
      "text-size": Number(digits) > TOWN ? 12 : 14,
      "text-variable-anchor": ["center", "bottom", "top", "left", "right"], // beside what stands in its place
      "text-radial-offset": 1.2,
    };
    const paint = { "text-halo-width": 1.5 };
    layers.push({ id: `name-${digits}`, type: "symbol", source: "names", filter: of(Number(digits)), minzoom, maxzoom, layout, paint });
  }
  return { version: 8, sources, layers };
}

function dressBase(paint) {
  paint("ground", "background-color", "ground");
  paint("land", "fill-color", "land");
  paint("towns", "fill-color", "tint");
  for (const digits of Object.keys(LINES)) paint(`line-${digits}`, "line-color", "line");
  for (const digits of Object.keys(NAMES)) {
    paint(`name-${digits}`, "text-color", Number(digits) > TOWN ? "faint" : "text");
    paint(`name-${digits}`, "text-halo-color", "halo");
  }
}
