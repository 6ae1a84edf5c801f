// What a person would see at once: text that is cut off, pieces that reach out of the window or
// lie upon each other, and text that has too little contrast (WCAG AA). Evaluated in a page.
() => {
  const faults = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) faults.push(`the page is ${wide} wide, the window ${innerWidth}`);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = read(getComputedStyle(one).backgroundColor);
      if (colour[3] > 200) return colour;
    }
    return [255, 255, 255];
  };
  const boxes = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const box = element.getBoundingClientRect();
    if (!own || !element.checkVisibility({ opacityProperty: true }) || box.width < 2) continue;
    if (element.closest(".unseen, .hint")) continue;
    const name = `${element.tagName} "${element.textContent.trim().slice(0, 30)}"`;
    if (element.scrollWidth > element.clientWidth + 1 && element.clientWidth) faults.push(`${name} is cut`);
    if (box.left < -1 || box.right > innerWidth + 1) faults.push(`${name} is outside`);
    const [a, b] = [light(read(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faults.push(`${name} has a contrast of ${contrast.toFixed(1)}`);
    if (!element.closest("#log")) boxes.push({ element, name, box });
  }
  for (const one of boxes) {
    for (const other of boxes) {
      if (one === other || one.element.contains(other.element) || other.element.contains(one.element)) continue;
      const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const down = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
      if (across > 1 && down > 2) faults.push(`${one.name} lies upon ${other.name}`);
    }
  }
  return faults;
}
