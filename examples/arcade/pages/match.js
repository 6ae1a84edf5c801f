import { Arena, orbsOf } from "./arena.js";
import { play } from "./connection.js";
import { me, secret } from "./me.js";

const SEND = 33; // ms between two words to the server
const STEPS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
  a: [-1, 0], d: [1, 0], w: [0, -1], s: [0, 1],
};
const find = (id) => document.getElementById(id);
const session = location.pathname.split("/").pop();
const canvas = find("arena");
const arena = new Arena(canvas, { follow: true });
let server = null;
let delay = null;

document.title = `Orbs · ${session}`;
find("code").textContent = session;

// What the server says.
const say = play(session, { ...me(), player: secret() }, {
  server(found) {
    server = found;
    showServer();
  },
  message(message) {
    if (message.orbs) {
      arena.hear(message);
      showScores(message);
      notice("");
    } else if ("you" in message) {
      arena.me = message.you;
    } else if ("pong" in message) {
      delay = Math.round(performance.now() - message.pong);
      showServer();
    }
  },
  lost: (why) => notice(why),
  over: (why) => notice(why, true),
});

// The name, the address and the node of the server are no secret here: it is a demo.
function showServer() {
  const address = Object.assign(document.createElement("span"), {
    className: "address mono",
    textContent: `${server.name} · ${server.endpoint} on ${server.node} · `,
  });
  find("server").replaceChildren(address, delay === null ? "…" : `${delay} ms`);
}

function showScores(state) {
  const orbs = orbsOf(state).sort((a, b) => b.score - a.score || a.number - b.number);
  const rows = orbs.map((orb) => {
    const row = document.createElement("li");
    row.style.setProperty("--hue", orb.hue);
    row.className = orb.number === arena.me ? "me" : orb.away ? "away" : "";
    const score = Object.assign(document.createElement("b"), { textContent: orb.score });
    row.append(orb.name, score);
    return row;
  });
  find("scores").replaceChildren(...rows);
}

function notice(words, over = false) {
  find("notice").hidden = !words;
  find("back").hidden = !over;
  if (words) find("words").textContent = words;
}

// What the player wants: a place of the window, as the world moves below it, or keys held down.
let pointer = null;
const held = new Set();

function follow(event) {
  pointer = [event.clientX, event.clientY];
  find("hint").classList.add("gone");
}

canvas.addEventListener("pointerdown", follow);
canvas.addEventListener("pointermove", follow);
canvas.addEventListener("pointerleave", (event) => {
  if (event.pointerType === "mouse") pointer = null;
});
addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (!STEPS[key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  held.add(key);
  pointer = null;
  find("hint").classList.add("gone");
});
addEventListener("keyup", (event) => held.delete(event.key.length === 1 ? event.key.toLowerCase() : event.key));
addEventListener("blur", () => held.clear());

function aim() {
  if (pointer) return arena.place(...pointer).map(Math.round);
  const mine = arena.orbs.get(arena.me);
  if (!held.size || !mine) return null;
  const [dx, dy] = [...held].map((key) => STEPS[key]).reduce((sum, step) => [sum[0] + step[0], sum[1] + step[1]]);
  return [Math.round(mine.x + dx * 400), Math.round(mine.y + dy * 400)];
}

let said = "";
setInterval(() => {
  const words = JSON.stringify(aim());
  if (words !== said) say({ aim: JSON.parse(words) });
  said = words;
}, SEND);
setInterval(() => say({ ping: performance.now() }), 1000);

find("share").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(location.href);
    find("share").textContent = "Copied";
  } catch {
    prompt("The link of this match", location.href); // not allowed, or not over HTTPS
  }
});
