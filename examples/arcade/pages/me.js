// Who plays in this browser: the name and the colour are kept, the secret lasts as long as the tab.

export const HUES = [348, 24, 48, 130, 172, 200, 262, 312];
const NAMES = ["Nova", "Comet", "Pixel", "Ziggy", "Luna", "Rocket", "Echo", "Juno"];

export const any = (list) => list[Math.floor(Math.random() * list.length)];

export function me() {
  const kept = JSON.parse(localStorage.getItem("me") ?? "null");
  return kept ?? keep({ name: any(NAMES), hue: any(HUES) });
}

export function keep(mine) {
  localStorage.setItem("me", JSON.stringify(mine));
  return mine;
}

// With the same secret the server gives the same orb back: after a reload, say.
export function secret() {
  let mine = sessionStorage.getItem("secret");
  if (!mine) {
    const bytes = crypto.getRandomValues(new Uint8Array(12));
    mine = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    sessionStorage.setItem("secret", mine);
  }
  return mine;
}
