// What a person would see at once: text that is cut off, pieces that reach out of the window or
// lie upon each other, pictures that are missing, and text that has too little contrast (WCAG AA).
// Evaluated in a page; what is apart is not looked at.
(apart) => {
  const faults = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) faults.push(`the page is ${wide} wide, the window ${innerWidth}`);
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map(); // to read a pixel is slow
  const read = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      known.set(colour, [...canvas.getImageData(0, 0, 1, 1).data]);
    }
    return known.get(colour);
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
  const contrast = (element) => {
    const [a, b] = [light(read(getComputedStyle(element).color)), light(ground(element))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const asked = new Map();
  const scrolls = (element) => {
    if (!asked.has(element)) asked.set(element, /auto|scroll/.test(getComputedStyle(element).overflow));
    return asked.get(element);
  };
  // What is seen of a box: of what scrolls, no more than fits.
  const seen = (element, { left, right, top, bottom }) => {
    for (let one = element.parentElement; one !== document.body && one; one = one.parentElement) {
      if (!scrolls(one)) continue;
      const around = one.getBoundingClientRect();
      [left, right] = [Math.max(left, around.left), Math.min(right, around.right)];
      [top, bottom] = [Math.max(top, around.top), Math.min(bottom, around.bottom)];
    }
    return { left, right, top, bottom };
  };
  for (const section of document.body.querySelectorAll(":has(h1, h2)")) {
    // A table or a block of code may scroll sideways, but not what is around it.
    const wider = section.scrollWidth - section.clientWidth;
    if (scrolls(section) && wider > 1) faults.push(`${section.tagName}.${section.className} scrolls sideways by ${wider}`);
  }
  const boxes = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const picture = element.tagName === "IMG";
    if ((!own && !picture) || element.closest(apart)) continue;
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.getBoundingClientRect().width < 2) continue;
    const name = picture ? `IMG ${element.src}` : `${element.tagName} "${element.textContent.trim().slice(0, 30)}"`;
    if (picture && !element.naturalWidth) faults.push(`${name} is missing`);
    const over = element.clientWidth && element.scrollWidth > element.clientWidth + 1;
    if (over && !scrolls(element)) faults.push(`${name} is cut`);
    if (own && contrast(element) < 4.5) faults.push(`${name} has a contrast of ${contrast(element).toFixed(1)}`);
    for (const line of element.getClientRects()) {
      const box = seen(element, line);
      if (box.right - box.left < 1 || box.bottom - box.top < 1) continue;
      if (box.left < -1 || box.right > innerWidth + 1) faults.push(`${name} is outside`);
      boxes.push({ element, name, box });
    }
  }
  boxes.sort((one, other) => one.box.top - other.box.top);
  for (const [index, one] of boxes.entries()) {
    for (let next = index + 1; next < boxes.length; next++) {
      const other = boxes[next];
      if (other.box.top > one.box.bottom - 2) break;
      if (one.element.contains(other.element) || other.element.contains(one.element)) continue;
      const across = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const down = Math.min(one.box.bottom, other.box.bottom) - other.box.top;
      if (across > 1 && down > 2) faults.push(`${one.name} lies upon ${other.name}`);
    }
  }
  return faults;
}
