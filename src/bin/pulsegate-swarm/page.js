"use strict";
const report = JSON.parse(document.getElementById("report").textContent);
const { run, connects, sent, beats, cuts, echo, gateway, swarm, faults, samples } = report;
const none = "–";

// Numbers for people.
const count = n => n == null ? none : Math.round(n).toLocaleString("en-US");
const scaled = (n, units, step) => {
  if (n == null) return none;
  let unit = 0;
  for (; Math.abs(n) >= step && unit < units.length - 1; unit++) n /= step;
  return `${+n.toFixed(Math.abs(n) < 10 && unit ? 2 : Math.abs(n) < 100 && unit ? 1 : 0)} ${units[unit]}`;
};
const bytes = n => scaled(n, ["B", "KiB", "MiB", "GiB", "TiB"], 1024);
const micros = n => scaled(n, ["µs", "ms", "s"], 1000);
const short = n => n == null ? none : Math.abs(n) >= 1e6 ? `${+(n / 1e6).toFixed(2)} M` : (+n.toFixed(2)).toLocaleString("en-US");
const percent = n => n == null ? none : `${+n.toFixed(n < 10 ? 1 : 0)} %`;
const clock = s => { const m = Math.floor(s / 60); return m >= 60 ? `${Math.floor(m / 60)}:${String(m % 60).padStart(2, "0")}:${String(Math.floor(s % 60)).padStart(2, "0")}` : `${m}:${String(Math.floor(s % 60)).padStart(2, "0")}`; };
const seconds = s => `${+s.toFixed(1)} s`;

// Elements. `append` inserts text as text, so the browser never parses the report as markup.
const SVG = "http://www.w3.org/2000/svg";
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "text", "circle", "rect", "title"].includes(name);
  const element = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter(child => child != null));
  return element;
}
const put = (id, ...children) => document.getElementById(id).append(...children.filter(Boolean));

// Round steps for an axis: 1, 2, 5 and their multiples of ten, or `choices` for time.
function steps(max, wanted, choices) {
  const rough = max / wanted;
  const ten = 10 ** Math.floor(Math.log10(rough || 1));
  const step = (choices || [1, 2, 2.5, 5, 10].map(n => n * ten)).find(n => n >= rough) || rough;
  const ticks = [];
  for (let n = 0; n <= max * 1.0001; n += step) ticks.push(n);
  return { ticks, top: Math.ceil(max / step - 1e-6) * step, step };
}

const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];

function chart({ title, note, format, series, log }) {
  series = series.filter(one => samples.some(sample => one.of(sample) != null));
  if (!series.length || samples.length < 2) return null;
  const box = make("div", { class: "card" });
  const legend = make("div", { class: "legend" });
  for (const { name, colour } of series) {
    const mark = make("i");
    mark.style.background = `var(${colour})`;
    legend.append(make("span", {}, mark, name));
  }
  box.append(make("div", { class: "head" }, make("h2", {}, title, " ", make("small", {}, note || "")), legend));
  const svg = make("svg", { role: "img", "aria-label": title });
  const tip = make("div", { class: "tip", hidden: "" });
  box.append(svg, tip);

  const values = series.flatMap(one => samples.map(one.of)).filter(value => value != null);
  const end = samples[samples.length - 1].at;
  let y, marks;
  if (log) {
    const positive = values.filter(value => value > 0);
    const low = Math.floor(Math.log10(Math.min(...positive)));
    const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...positive))));
    y = value => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low);
    marks = Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
  } else {
    const { ticks, top, step } = steps(Math.max(...values, 1e-9), 4);
    y = value => value / top;
    marks = ticks[ticks.length - 1] < top ? [...ticks, ticks[ticks.length - 1] + step] : ticks;
  }

  let left = 0, width = 0;
  const height = 230, top = 12, bottom = 24, right = 8;
  const px = at => left + at / end * (width - left - right);
  const py = value => height - bottom - y(value) * (height - top - bottom);

  function draw() {
    width = svg.clientWidth || 500;
    left = 14 + 7 * Math.max(...marks.map(mark => format(mark).length));
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    for (const mark of marks) {
      const at = Math.round(py(mark)) + 0.5;
      svg.append(make("line", { class: mark ? "grid" : "axis", x1: left, x2: width - right, y1: at, y2: at }));
      svg.append(make("text", { x: left - 8, y: at + 4, "text-anchor": "end" }, format(mark)));
    }
    for (const at of steps(end, Math.max(2, width / 90), TIMES).ticks) {
      const anchor = px(at) > width - 20 ? "end" : "middle";
      svg.append(make("text", { x: px(at), y: height - 6, "text-anchor": anchor }, clock(at)));
    }
    for (const { of, colour, area } of series) {
      let path = "", first = null, last = null;
      for (const sample of samples) {
        const value = of(sample);
        // A missing measurement is a gap, not a zero.
        if (value == null) continue;
        path += `${path ? "L" : "M"}${px(sample.at).toFixed(1)} ${py(value).toFixed(1)}`;
        first ??= sample.at;
        last = sample.at;
      }
      if (area) {
        const base = height - bottom;
        svg.append(make("path", { class: "area", d: `${path}L${px(last)} ${base}L${px(first)} ${base}Z`, fill: `var(${colour})` }));
      }
      svg.append(make("path", { class: "curve", d: path, stroke: `var(${colour})` }));
    }
    svg.append(make("g", { class: "hover" }));
  }

  function hover(event) {
    const x = event.clientX - svg.getBoundingClientRect().left;
    const at = (x - left) / (width - left - right) * end;
    const sample = samples.reduce((a, b) => Math.abs(b.at - at) < Math.abs(a.at - at) ? b : a);
    const dots = series.filter(one => one.of(sample) != null).map(one =>
      make("circle", { cx: px(sample.at), cy: py(one.of(sample)), r: 3.5, fill: `var(${one.colour})` }));
    const cursor = make("line", { class: "cursor", x1: px(sample.at), x2: px(sample.at), y1: top, y2: height - bottom });
    svg.querySelector(".hover").replaceChildren(cursor, ...dots);
    tip.replaceChildren(make("em", {}, `at ${clock(sample.at)}`), ...series.flatMap(one => {
      const mark = make("i");
      mark.style.background = `var(${one.colour})`;
      return [make("br"), mark, `${one.name} ${(one.tip || format)(one.of(sample))}`];
    }));
    tip.hidden = false;
    const place = px(sample.at) + 30;
    tip.style.left = `${place + tip.offsetWidth > box.clientWidth - 8 ? place - tip.offsetWidth - 26 : place}px`;
  }
  svg.addEventListener("pointermove", hover);
  svg.addEventListener("pointerleave", () => { tip.hidden = true; svg.querySelector(".hover").replaceChildren(); });
  new ResizeObserver(draw).observe(svg);
  return box;
}

function tile(value, label, kind = "") {
  const [number, ...unit] = value.split(" ");
  const strong = make("b", {}, number, unit.length ? make("small", {}, ` ${unit.join(" ")}`) : null);
  return make("div", { class: `tile ${kind}` }, strong, make("span", {}, label));
}

function table(title, head, rows, wide) {
  if (!rows.length) return null;
  const body = make("tbody", {}, ...rows.map(([name, ...cells]) =>
    make("tr", {}, make("th", { scope: "row" }, name), ...cells.map(cell => make("td", {}, cell)))));
  const top = head && make("thead", {}, make("tr", {}, ...head.map(cell => make("th", { scope: "col" }, cell))));
  const scroll = make("div", { class: "scroll" }, make("table", {}, top, body));
  return make("div", { class: wide ? "card wide" : "card" }, make("h2", {}, title), scroll);
}

const causes = of => Object.entries(of).map(([cause, n]) => `${cause.replace("_", " ")} ${count(n)}`).join(", ");
const summed = (n, of) => Object.keys(of).length ? `${count(n)} (${causes(of)})` : count(n);
const quantiles = (name, q) => q && q.count ? [[name, ...["p50", "p90", "p99", "p999", "max"].map(key => micros(q[key])), count(q.count)]] : [];
const every = (name, s) => s == null ? null : `${name} every ${s < 1 ? `${s * 1000} ms` : `${+s.toFixed(2)} s`}`;

document.title = `${count(run.devices)} devices · pulsegate-swarm`;
const load = [every("performance", run.performance_every_s), every("status", run.status_every_s),
  every(`picture (${run.picture_bytes % 1024 ? bytes(run.picture_bytes) : `${count(run.picture_bytes / 1024)} KiB`})`, run.picture_every_s)].filter(Boolean).join(", ");
put("subtitle", `${count(run.devices)} devices on ${run.gateway} for ${seconds(run.ran_s)}${run.interrupted ? " (interrupted)" : ""} · profile ${run.profile}: ${load || "answers to beats only"}`);

put("tiles",
  tile(count(connects.up_at_end), "devices up at the end"),
  tile(count(cuts.healthy), "healthy devices cut", cuts.healthy ? "bad" : "good"),
  tile(`${count(sent.messages)}`, `messages, ${count(sent.messages / run.ran_s)} a second`),
  tile(bytes(sent.bytes), `sent, ${bytes(sent.bytes / run.ran_s)} a second`),
  tile(count(beats.answered), `beats answered of ${count(beats.received)}`),
  echo && echo.round_trip_us.count && tile(micros(echo.round_trip_us.p99), `round trip p99, p50 ${micros(echo.round_trip_us.p50)}`),
  gateway && tile(bytes(gateway.rss_full_bytes), "gateway RSS, all devices up"),
  gateway && gateway.bytes_per_device != null && tile(bytes(gateway.bytes_per_device), "gateway RSS per device"),
);

put("charts",
  chart({ title: "Devices", format: short, series: [
    { name: "up", colour: "--a", of: s => s.up, tip: count, area: true },
    { name: "connecting", colour: "--b", of: s => s.connecting, tip: count },
    { name: "cut since the last point", colour: "--bad", of: s => cuts.healthy + cuts.faulty ? s.cuts : null, tip: count },
  ] }),
  chart({ title: "Messages and beats", note: "per second", format: short, series: [
    { name: "messages", colour: "--a", of: s => sent.messages ? s.messages_per_s : null, tip: count, area: true },
    { name: "beats", colour: "--c", of: s => s.beats_per_s, tip: count },
  ] }),
  chart({ title: "Round trip", note: "logarithmic", format: micros, log: true, series: [
    { name: "p50", colour: "--a", of: s => s.round_trip_p50_us },
    { name: "p99", colour: "--d", of: s => s.round_trip_p99_us },
  ] }),
  chart({ title: "Bytes sent", note: "per second", format: bytes, series: [
    { name: "bytes", colour: "--b", of: s => s.bytes_per_s, area: true },
  ] }),
  chart({ title: "Gateway memory", format: bytes, series: [
    { name: "RSS", colour: "--a", of: s => s.rss_bytes, area: true },
    { name: "PSS", colour: "--d", of: s => s.pss_bytes },
  ] }),
  chart({ title: "Gateway CPU", note: "of one core", format: percent, series: [
    { name: "CPU", colour: "--c", of: s => s.cpu_percent, area: true },
  ] }),
);

const costs = (title, of) => of && table(`${title}, process ${of.pid}`, null, [
  ["RSS before the first device", bytes(of.rss_before_bytes)],
  ["RSS with all devices", bytes(of.rss_full_bytes)],
  ["highest RSS", bytes(of.rss_max_bytes)],
  of.pss_full_bytes != null && ["PSS with all devices", bytes(of.pss_full_bytes)],
  of.bytes_per_device != null && ["RSS added per device", `${count(of.bytes_per_device)} B`],
  ["CPU time", `${of.cpu_seconds.toFixed(2)} s`],
  of.cpu_us_per_message != null && ["All CPU time per message", `${of.cpu_us_per_message.toFixed(2)} µs`],
  of.cpu_us_per_beat != null && ["All CPU time per beat", `${of.cpu_us_per_beat.toFixed(2)} µs`],
].filter(Boolean));

put("tables",
  table("Times", ["", "p50", "p90", "p99", "p99.9", "max", "count"], [
    ...quantiles("Time to connect", connects.time_us),
    ...quantiles("Beat spacing error", beats.spacing_error_us),
    ...quantiles("Round trip", echo && echo.round_trip_us),
  ], true),
  table("Connections", null, [
    ["Dials", count(connects.dials)],
    ["Connected", count(connects.connected)],
    ["Reconnected", count(connects.reconnects)],
    ["Failed dials", Object.keys(connects.failed).length ? causes(connects.failed) : "0"],
    ["Highest number of connected devices", count(connects.up_max)],
    ["Healthy devices cut", summed(cuts.healthy, cuts.healthy_by_cause)],
    ["Faulty devices cut", summed(cuts.faulty, cuts.faulty_by_cause)],
  ]),
  table("Traffic", null, [
    ...Object.entries(sent.by_kind).filter(([, n]) => n).map(([kind, n]) => [`Messages: ${kind}`, count(n)]),
    ["Bytes sent", bytes(sent.bytes)],
    ["Bytes received", bytes(sent.bytes_received)],
    sent.skipped && ["Reports skipped", count(sent.skipped)],
    sent.garbage && ["Garbage", count(sent.garbage)],
    sent.spam_heartbeats && ["Heartbeats flooded", count(sent.spam_heartbeats)],
    ["Beats received, answered", `${count(beats.received)}, ${count(beats.answered)}`],
    echo && ["Echoes asked, answered", `${count(echo.asked)}, ${count(echo.answered)}`],
  ].filter(Boolean)),
  table("Faulty devices", ["Fault", "devices", "own resets", "cut", "how"],
    faults.map(one => [one.fault, count(one.devices), count(one.own_resets), count(one.cuts), causes(one.by_cause) || none])),
  costs("Gateway", gateway),
  costs("Swarm", swarm),
);

put("footer", `${report.program} · ${report.date} · seed ${run.seed}, ${run.rate_per_s} dials a second at most`);
