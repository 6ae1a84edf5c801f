import { Arena } from "./arena.js";
import { follow, watch } from "./connection.js";
import { HUES, any, keep, me } from "./me.js";

const COLOURS = ["red", "blue", "gold", "jade", "pink", "teal", "amber", "lilac"];
const ANIMALS = ["fox", "owl", "lynx", "crab", "yak", "wolf", "ibis", "newt"];
const find = (id) => document.getElementById(id);

// Who plays.
const mine = me();
find("name").value = mine.name;
for (const hue of HUES) {
  const label = document.createElement("label");
  label.style.setProperty("--hue", hue);
  const input = Object.assign(document.createElement("input"), {
    type: "radio",
    name: "hue",
    value: hue,
    checked: hue === mine.hue,
    ariaLabel: `Hue ${hue}`,
  });
  label.append(input);
  find("hues").append(label);
}

function remember() {
  const name = find("name").value.trim();
  keep({ name: name || mine.name, hue: Number(document.querySelector("[name=hue]:checked").value) });
}

find("create").addEventListener("change", remember);

// The browser names the match. So whatever is lost on the way, asking again is safe.
find("create").addEventListener("submit", (event) => {
  event.preventDefault();
  remember();
  location.href = `/match/${any(COLOURS)}-${any(ANIMALS)}-${10 + Math.floor(Math.random() * 90)}`;
});

find("join").addEventListener("submit", async (event) => {
  event.preventDefault();
  remember();
  const session = find("code").value;
  try {
    const answer = await fetch(`/api/matches/${session}`);
    if (answer.ok) location.href = `/match/${session}`;
    else find("problem").textContent = (await answer.json()).detail;
  } catch {
    find("problem").textContent = "The backend does not answer. Try again.";
  }
});

// Who plays already: each match's own server shows it.
const shown = new Map();

function show(server) {
  const card = find("running").content.firstElementChild.cloneNode(true);
  card.querySelector("h3").textContent = server.session;
  card.querySelector("a").href = `/match/${server.session}`;
  card.querySelector("a").ariaLabel = `Join ${server.session}`;
  find("matches").append(card);
  const arena = new Arena(card.querySelector("canvas"));
  const watching = watch(server.url, server.session, (state) => arena.hear(state));
  return () => {
    watching.stop();
    arena.stop();
    card.remove();
  };
}

follow({
  fleet({ servers }) {
    const played = servers.filter((server) => server.state === "allocated" && server.url);
    const names = new Set(played.map((server) => server.name));
    for (const [name, hide] of shown) {
      if (names.has(name)) continue;
      hide();
      shown.delete(name);
    }
    for (const server of played) {
      if (!shown.has(server.name)) shown.set(server.name, show(server));
    }
    find("nothing").hidden = shown.size > 0;
  },
});
