// Charts from the tables of the page, with uPlot.

const COLOURS = 10;
const FIXED = {
  success: "--good", error: "--bad", timeout: "--warn", throttled: "--colour-3", rejected: "--colour-5",
  cancelled: "--colour-8", interrupted: "--colour-6", blocked: "--colour-4", pending: "--colour-7",
  p50: "--colour-0", p95: "--colour-1", p99: "--colour-3",
  other: "--grey", "(other)": "--grey", "(none)": "--grey", unknown: "--grey",
};
const DASHES = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const DAY = 86400;
const INCREMENTS = [3600, 7200, 10800, 21600, 43200, DAY, DAY * 2, DAY * 7, DAY * 14, DAY * 28];

const charts = new Map();
let chosen = new Map();

// Colours: one for a name, the same in every chart and table of the page.

function hash(name) {
  let sum = 0x811c9dc5;
  for (const unit of name) sum = Math.imul(sum ^ unit.codePointAt(0), 0x01000193) >>> 0;
  return sum;
}

function chooseColours() {
  chosen = new Map();
  for (const table of document.querySelectorAll("table[data-chart]")) {
    chooseApart([...table.querySelectorAll("[data-series]")].map((head) => head.dataset.series));
  }
  for (const body of document.querySelectorAll("tbody")) {
    chooseApart([...body.querySelectorAll("[data-key]")].map((key) => key.dataset.key));
  }
}

// Names that stand together get colours apart, as far as there are enough; those that have one keep it.
function chooseApart(names) {
  const taken = new Array(COLOURS).fill(0);
  const fresh = [];
  for (const name of new Set(names)) {
    if (chosen.has(name)) taken[chosen.get(name)] += 1;
    else if (!Object.hasOwn(FIXED, name)) fresh.push(name);
  }
  for (const name of fresh.sort()) {
    const fewest = Math.min(...taken);
    let place = hash(name) % COLOURS;
    while (taken[place] > fewest) place = (place + 1) % COLOURS;
    taken[place] += 1;
    chosen.set(name, place);
  }
}

function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function nameOfColour(name) {
  if (Object.hasOwn(FIXED, name)) return FIXED[name];
  return chosen.has(name) ? `--colour-${chosen.get(name)}` : "--grey";
}

function paintKeys() {
  for (const key of document.querySelectorAll("[data-key]")) {
    key.style.backgroundColor = `var(${nameOfColour(key.dataset.key)})`;
  }
}

// Charts.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// What a table says: seconds in ascending order, and of each series its values, and the text that people read.
function read(table) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  const rows = [...table.querySelectorAll("tbody tr")]
    .filter((row) => row.cells[0]?.dataset.at !== undefined)
    .map((row) => ({
      at: Number(row.cells[0].dataset.at),
      title: row.cells[0].textContent.trim(),
      href: row.cells[0].querySelector("a")?.href ?? "",
      cells: [...row.cells],
    }))
    .sort((one, other) => one.at - other.at);
  const series = heads
    .map((head, column) => ({ name: head.dataset.series, column }))
    .filter(({ name }) => name !== undefined)
    .map(({ name, column }) => ({
      name,
      values: rows.map(({ cells }) => {
        const value = cells[column]?.dataset.value;
        return value === undefined || value === "" ? null : Number(value);
      }),
      texts: rows.map(({ cells }) => cells[column]?.textContent.trim() ?? ""),
    }));
  return { rows, series, ats: rows.map(({ at }) => at) };
}

// The upper edge of each bar, the top one first: each is drawn over those above it.
function stacked(series) {
  const sums = series[0]?.values.map(() => 0) ?? [];
  return series
    .map(({ values }) => values.map((value, row) => (value === null ? null : (sums[row] += value))))
    .reverse();
}

function amounts(unit) {
  const plain = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
  if (unit === "usd") return (value) => `$${plain.format(value)}`;
  if (unit === "seconds") {
    return (value) => (value > 0 && value < 1 ? `${plain.format(value * 1000)} ms` : `${plain.format(value)} s`);
  }
  return (value) => plain.format(value);
}

function moments(step, zone) {
  const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: zone });
  const hour = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: zone });
  return (at) => {
    const time = hour.format(at * 1000);
    return step >= DAY || time === "00:00" ? day.format(at * 1000) : time;
  };
}

function options(table, told, width) {
  const step = Number(table.dataset.step) || DAY;
  const zone = table.dataset.zone || "UTC";
  const isStacked = table.dataset.chart === "bars-stacked";
  const back = variable("--back");
  const bars = uPlot.paths.bars({ size: [0.85, 48], gap: 1 });
  const lines = told.series.map(({ name }, place) => {
    const colour = variable(nameOfColour(name));
    if (isStacked) return { fill: colour, stroke: back, width: 0.5, paths: bars, points: { show: false } };
    return { stroke: colour, width: 2, dash: DASHES[place % DASHES.length], points: { show: told.rows.length < 3 } };
  });
  const show = moments(step, zone);
  const text = amounts(table.dataset.unit);
  const axis = { stroke: variable("--quiet"), font: "12px system-ui, sans-serif", ticks: { show: false } };
  const room = isStacked ? step / 2 : 0;
  return {
    width,
    height: width < 500 ? 190 : 250,
    legend: { show: false },
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), zone),
    cursor: { y: false, points: { show: !isStacked }, drag: { x: false, y: false } },
    scales: {
      x: { time: true, range: (_, first, last) => [first - room, last + (first === last ? step / 2 : room)] },
      y: { range: (_, lowest, highest) => [0, highest > 0 ? highest * 1.06 : 1] },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        size: 30,
        space: 64,
        incrs: INCREMENTS.filter((each) => each >= step),
        values: (_, splits) => splits.map(show),
      },
      {
        ...axis,
        grid: { stroke: variable("--line"), width: 1 },
        size: 64,
        space: 36,
        values: (_, splits) => splits.map(text),
      },
    ],
    series: [{}, ...(isStacked ? lines.reverse() : lines)],
  };
}

function legend(series) {
  const items = series.map(({ name }) => {
    const key = make("span", { class: "key", "data-key": name });
    return make("li", {}, key, ` ${name}`);
  });
  return make("ul", { class: "legend" }, ...items);
}

function tip(told, row) {
  const shown = told.series.map(({ name, values, texts }) => ({ name, value: values[row], text: texts[row] }));
  const items = shown
    .filter(({ value }) => value !== 0)
    .slice(0, 12)
    .map(({ name, text }) => {
      const key = make("span", { class: "key", "data-key": name });
      return make("li", {}, key, ` ${name} `, make("b", {}, text || "unknown"));
    });
  return [make("p", {}, told.rows[row].title), make("ul", {}, ...items)];
}

function draw(table) {
  const before = charts.get(table);
  const told = read(table);
  const signature = JSON.stringify([told.rows.map(({ at, href }) => [at, href]), told.series]);
  if (before?.signature === signature) return;
  before?.remove();
  charts.delete(table);
  if (told.rows.length === 0 || told.series.length === 0) return;

  const caption = table.caption?.textContent.trim() ?? "";
  const label = `Chart: ${caption}. The table after it has the figures.`;
  const canvas = make("div", { class: "canvas", role: "img", "aria-label": label });
  const balloon = make("div", { class: "tip", hidden: "", "aria-hidden": "true" });
  const frame = make("div", { class: "chart", "data-own": "" }, canvas, balloon, legend(told.series));
  const scroll = table.closest(".scroll") ?? table;
  scroll.before(frame);

  const isStacked = table.dataset.chart === "bars-stacked";
  const values = isStacked ? stacked(told.series) : told.series.map((series) => series.values);
  let row = null;
  function point({ over, cursor }) {
    row = told.rows[cursor.idx] === undefined ? null : cursor.idx;
    balloon.hidden = row === null;
    over.style.cursor = told.rows[row]?.href ? "pointer" : "";
    if (row === null) return;
    balloon.replaceChildren(...tip(told, row));
    paintKeys();
    const left = over.offsetLeft + cursor.left;
    const isRight = left > frame.clientWidth / 2;
    balloon.style.left = isRight ? "" : `${left + 14}px`;
    balloon.style.right = isRight ? `${frame.clientWidth - left + 14}px` : "";
  }
  const shape = { ...options(table, told, frame.clientWidth), hooks: { setCursor: [point] } };
  const drawn = new uPlot(shape, [told.ats, ...values], canvas);
  drawn.over.addEventListener("click", () => {
    const href = told.rows[row]?.href;
    if (href) location.assign(href);
  });
  const watch = new ResizeObserver(() => {
    const width = frame.clientWidth;
    if (width > 0 && width !== drawn.width) drawn.setSize({ width, height: drawn.height });
  });
  watch.observe(frame);
  charts.set(table, { signature, remove() { watch.disconnect(); drawn.destroy(); frame.remove(); } });
}

// Draw the tables that have changed, or all of them; return how many there are.
export function drawAll(anew = false) {
  chooseColours();
  for (const [table, chart] of charts) {
    if (anew || !table.isConnected) {
      chart.remove();
      charts.delete(table);
    }
  }
  for (const table of document.querySelectorAll("table[data-chart]")) draw(table);
  paintKeys();
  return charts.size;
}
