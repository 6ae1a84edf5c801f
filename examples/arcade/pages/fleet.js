import { Arena, orbsOf } from "./arena.js";
import { follow, watch } from "./connection.js";

const MINUTE = 60;
const KEPT = 60; // events
const find = (id) => document.getElementById(id);
const time = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

// A card for each server.
class Card {
  constructor(server) {
    this.element = find("server").content.firstElementChild.cloneNode(true);
    this.watching = null;
    this.element.querySelector(".end").addEventListener("click", () => {
      fetch(`/api/matches/${this.server.session}`, { method: "DELETE" });
    });
    this.element.querySelector(".crash").addEventListener("click", () => this.watching?.crash());
    this.element.dataset.server = server.name;
  }

  show(server, crashable) {
    const part = (name) => this.element.querySelector(name);
    this.server = server;
    this.element.dataset.state = server.state;
    part("h3").textContent = server.name;
    part(".pill").textContent = server.state === "allocated" ? "playing" : server.state;
    const why = server.state === "ended" && reasons.get(server.name);
    part(".address").textContent = why || server.endpoint || "no address yet";
    part(".session").textContent = server.session ?? "";
    part(".session").href = `/match/${server.session}`;
    part(".crash").hidden = !crashable;
    const played = server.state === "allocated" && Boolean(server.url);
    part(".game").hidden = !played;
    if (played && !this.watching) this.watch();
    if (!played) this.unwatch();
  }

  watch() {
    this.arena = new Arena(this.element.querySelector("canvas"));
    this.watching = watch(this.server.url, this.server.session, (state) => {
      this.arena.hear(state);
      const players = orbsOf(state).map((orb) => {
        const row = Object.assign(document.createElement("li"), { textContent: `${orb.name} ${orb.score}` });
        row.style.setProperty("--hue", orb.hue);
        return row;
      });
      this.element.querySelector(".players").replaceChildren(...players);
    });
  }

  unwatch() {
    this.watching?.stop();
    this.arena?.stop();
    this.watching = null;
  }
}

const cards = new Map();
const nodes = new Map();

function place(node) {
  if (!nodes.has(node)) {
    const section = document.createElement("div");
    const title = Object.assign(document.createElement("h2"), { className: "node" });
    const count = Object.assign(document.createElement("span"), { className: "quiet" });
    count.style.fontSize = "0.875rem";
    title.append(node, count);
    const servers = Object.assign(document.createElement("div"), { className: "servers" });
    section.append(title, servers);
    nodes.set(node, { section, count, servers });
    const sorted = [...nodes.keys()].sort();
    find("nodes").replaceChildren(...sorted.map((name) => nodes.get(name).section));
  }
  return nodes.get(node);
}

function show(fleet) {
  const names = new Set(fleet.servers.map((server) => server.name));
  for (const [name, card] of cards) {
    if (names.has(name)) continue;
    card.unwatch();
    card.element.remove();
    cards.delete(name);
  }
  for (const server of fleet.servers) {
    if (!cards.has(server.name)) cards.set(server.name, new Card(server));
    const card = cards.get(server.name);
    const { servers } = place(server.node ?? "no node yet");
    if (card.element.parentElement !== servers) servers.append(card.element);
    card.show(server, fleet.crashable);
  }
  for (const [name, { section, count, servers }] of nodes) {
    const number = servers.childElementCount;
    count.textContent = number === 1 ? "1 server" : `${number} servers`;
    section.hidden = name === "no node yet" && number === 0;
  }
  for (const state of ["ready", "allocated", "starting"]) {
    find(state).textContent = fleet.servers.filter((server) => server.state === state).length;
  }
  find("waiting").textContent = fleet.waiting;
  for (const server of fleet.servers) {
    if (server.session && server.allocated) started.set(`${server.name} ${server.session}`, server.allocated);
  }
}

// What happens. A stream begins with the present state, so some of it is told again.
const told = new Map();
const started = new Map();
const lost = new Map();
const reasons = new Map();

function tell(event) {
  const key = [event.kind, event.server ?? event.at, event.session].join(" ");
  if (told.has(key)) return;
  told.set(key, event);
  if (event.reason) reasons.set(event.server, event.reason);
  if (event.kind === "lost" || event.kind === "failed") lost.set(key, event.at);
  const row = document.createElement("li");
  const at = Object.assign(document.createElement("time"), { textContent: time.format(event.at * 1000) });
  const kind = Object.assign(document.createElement("span"), { className: "pill", textContent: event.kind });
  const words = Object.assign(document.createElement("p"), {
    textContent: [event.session, event.server, event.reason].filter(Boolean).join(" · "),
  });
  row.dataset.state = event.kind === "released" ? "starting" : event.kind;
  row.append(at, kind, words);
  find("log").prepend(row);
  while (find("log").childElementCount > KEPT) find("log").lastElementChild.remove();
}

function rates() {
  const since = Date.now() / 1000 - MINUTE;
  const count = (times) => [...times.values()].filter((at) => at > since).length;
  find("matches-rate").textContent = count(started);
  find("lost-rate").textContent = count(lost);
}

setInterval(rates, 500);
follow({
  fleet: show,
  happened: tell,
  link(up) {
    find("link").textContent = up ? "live" : "connecting again";
    find("link").dataset.state = up ? "ready" : "starting";
  },
});
