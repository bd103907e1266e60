// Spectra on a canvas by uPlot: zoom, hover, peaks, the raw curve, a reference mirrored below, deciding parts shaded.

const drawn = new Map();
const ROOM = 0.02;

export function plots(root) {
  for (const place of root.querySelectorAll("[data-plot]")) {
    if (!drawn.has(place) && place.offsetWidth > 0) draw(place);
  }
}

export function forget(root) {
  for (const [place, { plot, watch }] of drawn) {
    if (root.contains(place)) {
      watch.disconnect();
      plot.destroy();
      drawn.delete(place);
    }
  }
}

export function plotOf(place) {
  return drawn.get(place)?.plot;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const raised = (text) => text.replace(/\^(-?\d+)/g, (_, power) => [...power].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join(""));

function draw(place) {
  const data = JSON.parse(place.querySelector("script").textContent);
  const tables = [[data.x, data.y]];
  if (data.raw) tables.push([data.raw.x, data.raw.y]);
  if (data.below) tables.push([data.below.x, data.below.y.map((y) => (y === null ? null : -y))]);
  const joined = tables.length > 1 ? uPlot.join(tables) : tables[0];
  const [low, high] = ends(tables, data.sticks);
  const paths = data.sticks ? sticks : undefined;
  const line = (name, width) => ({ stroke: () => colour(name), width, paths, points: { show: false } });
  const series = [{}, line("ink", data.sticks ? 1.6 : 1.2)];
  if (data.raw) series.push(line("pale", 1));
  if (data.below) series.push(line("below", data.sticks ? 1.6 : 1.2));
  const all = tables.flatMap((table) => table[1]).filter((y) => y !== null);
  const least = Math.min(0, ...all.slice(0, 1), lowest(all));
  const axis = { stroke: () => colour("quiet"), grid: { stroke: () => colour("grid"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif", labelFont: "12px system-ui, sans-serif" };
  const plot = new uPlot(
    {
      width: place.offsetWidth,
      height: place.offsetHeight,
      scales: {
        x: { time: false, dir: data.descending ? -1 : 1, range: (_, from, to) => [Math.max(low, from ?? low), Math.min(high, to ?? high)] },
        y: { range: () => [data.below ? -1.22 : least * 1.05, 1.16] },
      },
      axes: [
        { ...axis, label: raised(data.axis), labelSize: 20, size: 28, space: 60, values: (_, splits) => splits.map(String) },
        { ...axis, show: !data.below, size: 34, splits: () => [0, 0.5, 1], values: (_, splits) => splits.map(String) },
      ],
      series,
      legend: { show: false },
      cursor: { y: false, drag: { x: true, y: false, dist: 5 }, points: { show: false } },
      hooks: {
        drawClear: [(u) => shade(u, data.bands ?? [])],
        draw: [(u) => label(u, data.peaks ?? [])],
        setCursor: [(u) => hover(u, place, data)],
      },
    },
    joined,
    place,
  );
  plot.setScale("x", { min: low, max: high });
  plot.ends = [low, high];
  const watch = new ResizeObserver(() => {
    if (place.offsetWidth > 0) plot.setSize({ width: place.offsetWidth, height: place.offsetHeight });
  });
  watch.observe(place);
  drawn.set(place, { plot, watch });
}

const lowest = (values) => values.reduce((least, value) => Math.min(least, value), 0);

function ends(tables, roomy) {
  let [low, high] = [Infinity, -Infinity];
  for (const [x] of tables) {
    if (x.length) [low, high] = [Math.min(low, x[0]), Math.max(high, x[x.length - 1])];
  }
  if (!Number.isFinite(low)) return [0, 1];
  const room = low === high ? Math.max(1, Math.abs(low) / 10) : roomy ? ROOM * (high - low) : 0;
  return [low - room, high + room];
}

// A line from the axis for each place.
function sticks(u, index, from, to) {
  const path = new Path2D();
  const [xs, ys] = [u.data[0], u.data[index]];
  const zero = u.valToPos(0, "y", true);
  for (let i = from; i <= to; i++) {
    if (ys[i] === null || ys[i] === undefined) continue;
    const x = u.valToPos(xs[i], "x", true);
    path.moveTo(x, zero);
    path.lineTo(x, u.valToPos(ys[i], "y", true));
  }
  return { stroke: path };
}

function clipped(u, work) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  work(ctx, bbox);
  ctx.restore();
}

function shade(u, bands) {
  clipped(u, (ctx, box) => {
    ctx.fillStyle = colour("mark");
    for (const [start, stop, strength] of bands) {
      const [a, b] = [u.valToPos(start, "x", true), u.valToPos(stop, "x", true)];
      const width = Math.max(Math.abs(b - a), 5 * devicePixelRatio);
      ctx.globalAlpha = 0.32 * strength;
      ctx.fillRect((a + b - width) / 2, box.top, width, box.height);
    }
  });
}

// Write the places of peaks, the highest first, none over another.
function label(u, peaks) {
  clipped(u, (ctx) => {
    ctx.fillStyle = colour("quiet");
    ctx.font = `${11.5 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    const taken = [];
    for (const peak of peaks) {
      const x = u.valToPos(peak.x, "x", true);
      const y = u.valToPos(peak.y, "y", true) - 4 * devicePixelRatio;
      const half = ctx.measureText(peak.label).width / 2 + 3;
      if (x - half < u.bbox.left || x + half > u.bbox.left + u.bbox.width) continue;
      if (taken.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 14 * devicePixelRatio)) continue;
      taken.push({ x, y, half });
      ctx.fillText(peak.label, x, y);
    }
  });
}

function hover(u, place, data) {
  const out = place.closest(".panel")?.querySelector(".readout");
  const index = u.cursor.idx;
  if (!out) return;
  if (index === null || index === undefined) return void (out.textContent = "");
  const height = u.data[1][index];
  const x = u.data[0][index];
  const digits = Math.abs(u.ends[1] - u.ends[0]) > 1000 ? 1 : 4;
  const unit = data.unit ? ` ${raised(data.unit)}` : "";
  out.textContent = height === null || height === undefined ? "" : `${x.toFixed(digits)}${unit}, height ${height.toFixed(2)}`;
}

// What the buttons below a spectrum do: the same as dragging.
export function zoom(plot, how) {
  const [low, high] = plot.ends;
  let { min, max } = plot.scales.x;
  const span = max - min;
  const right = plot.scales.x.dir === -1 ? -1 : 1;
  if (how === "in") [min, max] = [min + span / 4, max - span / 4];
  else if (how === "out") [min, max] = [min - span / 2, max + span / 2];
  else if (how === "all") [min, max] = [low, high];
  else {
    let step = (how === "right" ? right : -right) * span * 0.3;
    step = Math.min(Math.max(step, low - min), high - max);
    [min, max] = [min + step, max + step];
  }
  plot.setScale("x", { min: Math.max(low, min), max: Math.min(high, max) });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const { plot } of drawn.values()) plot.redraw();
});
