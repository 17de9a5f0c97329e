/** Draws a row of numbers as a small curve. */

const WIDTH = 72;
const HEIGHT = 20;
const SVG = "http://www.w3.org/2000/svg";

/** @param {number[]} values oldest first @param {number} room how many values fill the width */
export function drawSparkline(svg, values, room) {
  const top = Math.max(...values, 1e-9);
  const points = values.map((value, index) => {
    const x = WIDTH - ((values.length - 1 - index) * WIDTH) / (room - 1);
    return `${x.toFixed(1)},${(HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(1)}`;
  });
  svg.firstChild.setAttribute("points", points.join(" "));
}

export function makeSparkline() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("width", String(WIDTH));
  svg.setAttribute("height", String(HEIGHT));
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("sparkline");
  svg.append(document.createElementNS(SVG, "polyline"));
  return svg;
}
