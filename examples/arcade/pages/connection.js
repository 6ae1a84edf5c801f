// How a page finds its match's server, and talks with it. It survives the loss of everything:
// of the connection, of the backend's worker, of the game server.

const OVER = 4000;
const FULL = 4002;
const SILENCE = 3000; // ms without a word from the server: it is gone
const PATIENCE = 3000; // ms between two tries, at most

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// The session names the match, so asking twice is the same as asking once.
async function serverOf(session) {
  const answer = await fetch(`/api/matches/${session}`, { method: "POST" });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail);
  return body;
}

// Talks with one server until the connection ends; resolves with the close event.
function talk(url, hello, hear, opened = () => {}) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url);
    let watchdog;
    const end = (event) => {
      clearTimeout(watchdog);
      resolve(event);
    };
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => {
        socket.close();
        end({ code: 0 }); // a server that is gone does not answer the closing either
      }, SILENCE * (socket.readyState === WebSocket.OPEN ? 1 : 2));
    };
    alive();
    socket.onopen = () => {
      socket.send(JSON.stringify(hello));
      opened(socket);
    };
    socket.onmessage = (event) => {
      alive();
      hear(JSON.parse(event.data));
    };
    socket.onclose = end;
  });
}

// Plays a match to its end. `on` is told: server(server), message(message), lost(why), over(why).
export function play(session, hello, on) {
  let socket = null;

  async function run() {
    for (let wait = 250; ; wait = Math.min(wait * 2, PATIENCE)) {
      let why = "The server is gone. Getting another one …";
      try {
        const server = await serverOf(session);
        on.server(server);
        const hear = (message) => {
          wait = 250;
          on.message(message);
        };
        const end = await talk(server.url, { ...hello, session }, hear, (it) => (socket = it));
        socket = null;
        if (end.code === OVER) return on.over("The match is over.");
        if (end.code === FULL) return on.over("The match is full.");
      } catch (error) {
        why = `No server yet: ${error.message}. Trying again …`;
      }
      on.lost(why);
      await pause(wait);
    }
  }

  run();
  return (message) => {
    if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
  };
}

// Looks on at a match, until stopped.
export function watch(url, session, hear) {
  let socket = null;
  let stopped = false;

  async function run() {
    while (!stopped) {
      await talk(url, { session, watch: true }, hear, (it) => (socket = it));
      await pause(1000);
    }
  }

  run();
  return {
    stop() {
      stopped = true;
      socket?.close();
    },
    crash: () => socket?.send(JSON.stringify({ crash: true })),
  };
}

// Follows the fleet. An EventSource connects again by itself, to whichever worker is there.
export function follow({ fleet, happened = () => {}, link = () => {} }) {
  const source = new EventSource("/api/fleet");
  source.addEventListener("fleet", (event) => fleet(JSON.parse(event.data)));
  source.addEventListener("happened", (event) => happened(JSON.parse(event.data)));
  source.onopen = () => link(true);
  source.onerror = () => link(false);
  addEventListener("pagehide", () => source.close());
  // A page that comes back out of the browser's cache has lost its stream.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
}
