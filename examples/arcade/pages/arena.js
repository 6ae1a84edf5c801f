// Draws a match on a canvas: the last state that the server told, and the way there.

export const WIDTH = 1600;
export const HEIGHT = 900;

const TRAIL = 700; // ms
const BURST = 450; // ms
const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

// The row of an orb, as the server tells it.
export const orbsOf = (state) =>
  state.orbs.map(([number, name, hue, x, y, radius, score, away]) => ({ number, name, hue, x, y, radius, score, away }));

export class Arena {
  // A player's view follows its orb and fills the canvas; an onlooker's shows all.
  constructor(canvas, { follow = false } = {}) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.follow = follow;
    this.me = null;
    this.orbs = new Map();
    this.dots = [];
    this.bursts = [];
    this.interval = 33;
    this.told = 0;
    this.view = { scale: 1, x: 0, y: 0 };
    this.running = true;
    const frame = () => {
      if (!this.running) return;
      this.draw(performance.now()); // a late frame's own time may lie before the last state
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  stop() {
    this.running = false;
  }

  // Takes in what the server tells. What is drawn moves from where it is to where it is now.
  hear(state) {
    const now = performance.now();
    this.interval += (Math.min(now - this.told, 250) - this.interval) * 0.1;
    this.told = now;
    const seen = new Set();
    for (const orb of orbsOf(state)) {
      seen.add(orb.number);
      const before = this.orbs.get(orb.number);
      if (before && orb.score > before.score) {
        this.bursts.push({ x: orb.x, y: orb.y, hue: orb.hue, at: now, radius: orb.radius });
      }
      const from = before ? { x: before.shownX, y: before.shownY } : orb;
      const trail = (before?.trail ?? []).filter((point) => now - point.at < TRAIL);
      if (before) trail.push({ x: before.x, y: before.y, at: now });
      const shown = { shownX: from.x, shownY: from.y, trail };
      this.orbs.set(orb.number, { ...orb, fromX: from.x, fromY: from.y, ...shown });
    }
    for (const number of this.orbs.keys()) if (!seen.has(number)) this.orbs.delete(number);
    this.dots = state.dots;
  }

  // Returns the place in the world that is at a place of the window.
  place(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const { scale, x, y } = this.view;
    return [(clientX - box.left) / scale + x, (clientY - box.top) / scale + y];
  }

  draw(now) {
    const { canvas, context } = this;
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.move(now);
    this.look(width, height);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name);
    const { scale, x, y } = this.view;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.setTransform(ratio * scale, 0, 0, ratio * scale, -x * scale * ratio, -y * scale * ratio);
    this.drawGrid(colour("--grid"));
    this.drawDots(now, colour("--dot"), colour("--gold"));
    const glow = dark.matches ? "lighter" : "source-over";
    context.globalCompositeOperation = glow;
    for (const orb of this.orbs.values()) this.drawTrail(orb, now);
    for (const burst of this.bursts) this.drawBurst(burst, now);
    this.bursts = this.bursts.filter((burst) => now - burst.at < BURST);
    context.globalCompositeOperation = "source-over";
    for (const orb of this.orbs.values()) this.drawOrb(orb, colour("--text"));
    this.drawNames(colour("--text"), colour("--arena"));
    if (this.follow) this.drawMap(width, height, ratio, colour);
  }

  move(now) {
    const part = Math.min((now - this.told) / this.interval, 1);
    for (const orb of this.orbs.values()) {
      orb.shownX = orb.fromX + (orb.x - orb.fromX) * part;
      orb.shownY = orb.fromY + (orb.y - orb.fromY) * part;
    }
  }

  look(width, height) {
    const all = Math.min(width / WIDTH, height / HEIGHT);
    const full = Math.max(width / WIDTH, height / HEIGHT);
    const scale = this.follow ? full : all;
    const mine = this.orbs.get(this.me);
    const along = (size, world, at) => {
      const shown = size / scale;
      if (shown >= world) return (world - shown) / 2;
      return Math.min(Math.max(at - shown / 2, 0), world - shown);
    };
    this.view = {
      scale,
      x: along(width, WIDTH, mine?.shownX ?? WIDTH / 2),
      y: along(height, HEIGHT, mine?.shownY ?? HEIGHT / 2),
    };
  }

  drawGrid(colour) {
    const { context } = this;
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.beginPath();
    for (let x = 0; x <= WIDTH; x += 100) {
      context.moveTo(x, 0);
      context.lineTo(x, HEIGHT);
    }
    for (let y = 0; y <= HEIGHT; y += 100) {
      context.moveTo(0, y);
      context.lineTo(WIDTH, y);
    }
    context.stroke();
  }

  drawDots(now, plain, gold) {
    const { context } = this;
    for (const [x, y, worth] of this.dots) {
      const pulse = still.matches ? 1 : 1 + 0.14 * Math.sin(now / 260 + x);
      context.fillStyle = worth > 1 ? gold : plain;
      context.beginPath();
      context.arc(x, y, (worth > 1 ? 13 : 8) * pulse, 0, 2 * Math.PI);
      context.fill();
      if (worth > 1) {
        context.strokeStyle = gold;
        context.lineWidth = 2.5;
        context.globalAlpha = 0.45;
        context.beginPath();
        context.arc(x, y, 20 * pulse, 0, 2 * Math.PI);
        context.stroke();
        context.globalAlpha = 1;
      }
    }
  }

  // A ribbon from where the orb was to where it is.
  drawTrail(orb, now) {
    const trail = [...orb.trail, { x: orb.shownX, y: orb.shownY, at: now }];
    if (still.matches || trail.length < 3) return;
    const left = [];
    const right = [];
    for (let index = 1; index < trail.length; index++) {
      const [from, to, next] = [trail[index - 1], trail[index], trail[index + 1] ?? trail[index]];
      const [dx, dy] = [next.x - from.x, next.y - from.y];
      const width = orb.radius * 0.9 * Math.max(1 - (now - to.at) / TRAIL, 0);
      const part = width / Math.max(Math.hypot(dx, dy), 1);
      left.push([to.x + dy * part, to.y - dx * part]);
      right.unshift([to.x - dy * part, to.y + dx * part]);
    }
    const { context } = this;
    const fill = context.createLinearGradient(trail[0].x, trail[0].y, orb.shownX, orb.shownY);
    fill.addColorStop(0, tint(orb.hue, 0));
    fill.addColorStop(1, tint(orb.hue, orb.away ? 0.2 : 0.75));
    context.fillStyle = fill;
    context.beginPath();
    for (const point of [...left, ...right]) context.lineTo(...point);
    context.fill();
  }

  drawBurst(burst, now) {
    const { context } = this;
    const part = (now - burst.at) / BURST;
    context.strokeStyle = tint(burst.hue, 1 - part);
    context.lineWidth = 6 * (1 - part) + 1;
    context.beginPath();
    context.arc(burst.x, burst.y, burst.radius + 46 * part, 0, 2 * Math.PI);
    context.stroke();
  }

  drawOrb(orb, text) {
    const { context } = this;
    const { shownX: x, shownY: y, radius } = orb;
    context.globalAlpha = orb.away ? 0.4 : 1;
    const halo = context.createRadialGradient(x, y, radius * 0.6, x, y, radius * 2.4);
    halo.addColorStop(0, tint(orb.hue, 0.5));
    halo.addColorStop(1, tint(orb.hue, 0));
    disc(context, x, y, radius * 2.4, halo);
    const ball = context.createRadialGradient(x - radius * 0.3, y - radius * 0.35, radius * 0.1, x, y, radius);
    ball.addColorStop(0, `hsl(${orb.hue} 100% 88%)`);
    ball.addColorStop(0.5, `hsl(${orb.hue} 90% 62%)`);
    ball.addColorStop(1, `hsl(${orb.hue} 85% 45%)`);
    disc(context, x, y, radius, ball);
    if (orb.number === this.me) {
      context.strokeStyle = text;
      context.lineWidth = 3;
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  // Below each orb its name; above it, if there is none to be read below; else none.
  drawNames(text, ground) {
    const { context } = this;
    const size = Math.max(20, 13 / this.view.scale);
    context.font = `700 ${size}px system-ui, "DejaVu Sans", sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = size / 4;
    context.strokeStyle = ground;
    context.fillStyle = text;
    const taken = [];
    const mineFirst = [...this.orbs.values()].sort((a, b) => (b.number === this.me) - (a.number === this.me));
    for (const { name, shownX, shownY, radius, away } of mineFirst) {
      const half = context.measureText(name).width / 2 + 6;
      const x = Math.min(Math.max(shownX, half), WIDTH - half);
      const free = (y) =>
        y > size / 2 &&
        y < HEIGHT - size / 2 &&
        taken.every((one) => Math.abs(one.x - x) > one.half + half || Math.abs(one.y - y) > size * 1.1);
      const y = [shownY + radius + size * 0.9, shownY - radius - size * 0.9].find(free);
      if (y === undefined) continue;
      taken.push({ x, y, half });
      context.globalAlpha = away ? 0.4 : 1;
      context.strokeText(name, x, y);
      context.fillText(name, x, y);
    }
    context.globalAlpha = 1;
  }

  // Where the window shows a part of the world only, a map in a corner shows the rest.
  drawMap(width, height, ratio, colour) {
    const { context, view } = this;
    if (Math.min(width / view.scale / WIDTH, height / view.scale / HEIGHT) > 0.8) return;
    const scale = 112 / WIDTH;
    context.setTransform(ratio, 0, 0, ratio, 12 * ratio, 12 * ratio);
    context.globalAlpha = 0.95;
    context.fillStyle = colour("--card");
    context.fillRect(0, 0, WIDTH * scale, HEIGHT * scale);
    context.globalAlpha = 1;
    context.strokeStyle = colour("--quiet");
    context.lineWidth = 1;
    context.strokeRect(0.5, 0.5, WIDTH * scale - 1, HEIGHT * scale - 1);
    const shown = [view.x * scale, view.y * scale, (width / view.scale) * scale, (height / view.scale) * scale];
    context.strokeRect(...shown);
    for (const orb of this.orbs.values()) {
      disc(context, orb.shownX * scale, orb.shownY * scale, 3.5, `hsl(${orb.hue} 85% 55%)`);
    }
  }
}

const tint = (hue, alpha) => `hsl(${hue} 90% ${dark.matches ? 60 : 55}% / ${Math.max(alpha, 0)})`;

function disc(context, x, y, radius, fill) {
  context.fillStyle = fill;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
