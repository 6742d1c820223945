// The venues on a map: points that gather, a list of those in sight, a card of the one that is chosen.
import { around, colour, dressed, features, load, NoMap, openMap, point } from "./map.js";

const LISTED = 50;
const CLOSE = 14; // zoom at which a venue chosen from the list is shown
const STEP = 1.5; // by so much at least a click on gathered points comes nearer
const GATHERED = 16; // zoom up to which points gather
const STATES = [0, 1, 2, 3]; // the most urgent last, as the server numbers them
const OPEN = STATES.at(-1);

const root = document.querySelector("[data-venue-map]");
const part = (name) => root.querySelector(`[data-map-${name}]`);
const element = root.querySelector("[data-map]");
const card = document.getElementById("map-card");
const form = root.querySelector("form");
let all = []; // venues: {id, at, name, kind, street, state}
let shown = []; // those that the filters leave
let map = null; // stays null where none can be drawn

function tell(problem) {
  const line = part("problem");
  line.textContent = problem instanceof NoMap ? problem.message : "地图没有打开，请刷新页面重试。";
  line.hidden = false;
}

// --- which venues

function filter() {
  const asked = Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
  shown = all.filter((venue) => Object.entries(asked).every(([name, value]) => String(venue[name]) === value));
  part("count").textContent = `${shown.length.toLocaleString("zh-CN")} 个场所`;
  map?.getSource("venues").setData(features(shown.map(({ at, id, name, state }) => point(at, { id, name, state }))));
  remember({ kind: "", street: "", state: "", ...asked });
  list();
}

/** Keep in the address what is looked at, so that it can be sent on and come back to. */
function remember(values) {
  const address = new URL(location.href);
  for (const [name, value] of Object.entries(values)) {
    if (value) address.searchParams.set(name, value);
    else address.searchParams.delete(name);
  }
  history.replaceState(history.state, "", address);
}

/** List what is in sight, or these venues, the most urgent first. */
function list(venues, title) {
  const bounds = map?.getBounds();
  const found = venues ?? shown.filter((venue) => !bounds || bounds.contains(venue.at));
  found.sort((a, b) => b.state - a.state || a.name.localeCompare(b.name, "zh-CN"));
  const number = found.length.toLocaleString("zh-CN");
  const cut = found.length > LISTED ? `，列出前 ${LISTED} 个` : "";
  part("heading").textContent = `${title ?? "图中场所"} ${number} 个${cut}`;
  part("nothing").hidden = found.length > 0;
  part("list").replaceChildren(...found.slice(0, LISTED).map(entry));
}

function entry(venue) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.venue = venue.id;
  const mark = document.createElement("i");
  mark.className = `state-${venue.state}`;
  const street = document.createElement("small");
  street.textContent = venue.street;
  button.append(mark, venue.name, street);
  if (venue.state === OPEN) button.title = "预警未接收";
  const line = document.createElement("li");
  line.append(button);
  return line;
}

// --- the chosen one

async function choose(venue, { move = false } = {}) {
  map?.getSource("chosen").setData(features([point(venue.at)]));
  if (move) map?.easeTo({ center: venue.at, zoom: Math.max(map.getZoom(), CLOSE) });
  card.hidden = false;
  remember({ venue: venue.id });
  await htmx.ajax("GET", `${root.dataset.cards}${venue.id}/`, { target: card, swap: "innerHTML" });
  card.scrollIntoView({ block: "nearest" }); // on a telephone it stands below the map
}

function close() {
  card.hidden = true;
  card.replaceChildren();
  map?.getSource("chosen").setData(features([]));
  remember({ venue: "" });
}

root.addEventListener("click", (event) => {
  if (event.target.closest("[data-map-close]")) close();
  const chosen = event.target.closest("[data-venue]");
  if (chosen) choose(all.find((venue) => venue.id === Number(chosen.dataset.venue)), { move: true });
});

// --- on the map

const OF_STATE = (list) => ["match", ["get", "state"], ...STATES.flatMap((state) => [state, list[state]]), list[0]];

function draw() {
  map.addSource("venues", {
    type: "geojson",
    data: features([]),
    cluster: true,
    clusterRadius: 44,
    clusterMaxZoom: GATHERED,
    clusterProperties: { open: ["+", ["case", ["==", ["get", "state"], OPEN], 1, 0]] },
  });
  map.addSource("chosen", { type: "geojson", data: features([]) });
  const gathered = ["has", "point_count"];
  const open = [">", ["get", "open"], 0];
  map.addLayer({
    id: "chosen",
    type: "circle",
    source: "chosen",
    paint: { "circle-radius": 16, "circle-opacity": 0.35 },
  });
  map.addLayer({
    id: "gathered",
    type: "circle",
    source: "venues",
    filter: gathered,
    paint: {
      "circle-radius": ["step", ["get", "point_count"], 14, 50, 18, 500, 22, 5000, 27],
      "circle-stroke-width": ["case", open, 4, 1.5],
    },
  });
  map.addLayer({
    id: "numbers",
    type: "symbol",
    source: "venues",
    filter: gathered,
    layout: { "text-field": ["to-string", ["get", "point_count"]], "text-size": 13, "text-allow-overlap": true },
  });
  map.addLayer({
    id: "venues",
    type: "circle",
    source: "venues",
    filter: ["!", gathered],
    layout: { "circle-sort-key": ["get", "state"] },
    paint: { "circle-radius": OF_STATE([6, 6, 7, 9]), "circle-stroke-width": 1.5 },
  });
  map.addLayer({
    id: "names",
    type: "symbol",
    source: "venues",
    filter: ["!", gathered],
    minzoom: 14,
    layout: { "text-field": ["get", "name"], "text-size": 12, "text-anchor": "top", "text-offset": [0, 0.8], "text-optional": true },
    paint: { "text-halo-width": 1.5 },
  });
  for (const layer of ["gathered", "venues"]) {
    map.on("mouseenter", layer, () => (map.getCanvas().style.cursor = "pointer"));
    map.on("mouseleave", layer, () => (map.getCanvas().style.cursor = ""));
  }
  map.on("click", "gathered", async ({ features: [cluster] }) => {
    const source = map.getSource("venues");
    const apart = await source.getClusterExpansionZoom(cluster.properties.cluster_id);
    map.easeTo({ center: cluster.geometry.coordinates, zoom: Math.max(apart, map.getZoom() + STEP) });
  });
  map.on("click", "venues", ({ features: clicked }) => {
    const ids = new Set(clicked.map((feature) => feature.properties.id));
    const here = all.filter((venue) => ids.has(venue.id));
    choose(here[0]);
    if (here.length > 1) list(here, "此处场所");
  });
  map.on("moveend", () => list());
}

function dress(paint) {
  const states = STATES.map((state) => colour(element, `state-${state}`));
  map.setPaintProperty("venues", "circle-color", OF_STATE(states));
  const ring = ["case", [">", ["get", "open"], 0], states[OPEN], colour(element, "halo")];
  map.setPaintProperty("gathered", "circle-stroke-color", ring);
  paint("gathered", "circle-color", "cluster");
  paint("numbers", "text-color", "halo");
  paint("venues", "circle-stroke-color", "halo");
  paint("chosen", "circle-color", "chosen");
  paint("names", "text-color", "text");
  paint("names", "text-halo-color", "halo");
}

async function start() {
  const drawn = openMap(element).catch(tell); // undefined then
  const { venues } = await load(root.dataset.venues);
  all = venues.map(([id, longitude, latitude, name, kind, street, state]) => ({ id, at: [longitude, latitude], name, kind, street, state }));
  map = await drawn;
  if (map) {
    draw();
    dressed(map, dress);
    if (all.length) map.fitBounds(around(all.map((venue) => venue.at)), { padding: 48, maxZoom: CLOSE, animate: false });
  } else {
    element.closest(".map-frame").hidden = true;
  }
  filter();
  const asked = new URL(location.href).searchParams.get("venue");
  const venue = all.find(({ id }) => String(id) === asked);
  if (venue) choose(venue, { move: true });
  form.addEventListener("change", filter);
  map?.once("idle", () => (element.dataset.mapReady = ""));
}

start().catch(tell);
