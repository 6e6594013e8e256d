// The overview: whether all is well, the figures, and the last hour.

/** The value of the last step, and its change over the hour, in words. */
function latest(values) {
  const known = (values ?? []).filter((value) => value !== null);
  return known.length ? known[known.length - 1] : null;
}

function sum(values) { return (values ?? []).reduce((total, value) => total + (value ?? 0), 0); }

function tile(name, value, detail) {
  return element("div", { class: "box tile" }, element("span", { class: "quiet" }, name), element("b", {}, value), element("span", { class: "quiet" }, detail ?? ""));
}

function health(status) {
  const worst = status.problems.some((problem) => problem.level === "error") ? "error" : "warning";
  if (!status.problems.length) {
    return element("section", { class: "box health" }, element("p", {}, element("strong", {}, "All is well.")));
  }
  return element("section", { class: `box health ${worst}` },
    element("p", {}, element("strong", {}, status.problems.length === 1 ? "One thing needs attention." : `${status.problems.length} things need attention.`)),
    element("ul", {}, status.problems.map((problem) => element("li", {}, problem.text, " ", element("span", { class: "quiet" }, problem.help)))));
}

/** The counters of one table by reason: those above zero, the largest first. */
function reasons(title, counters, format = count) {
  const rows = Object.entries(counters ?? {}).map(([name, value]) => [name, typeof value === "object" ? value.count : value])
    .filter(([, value]) => value > 0).sort((a, b) => b[1] - a[1]);
  return element("section", { class: "box" }, element("h2", {}, title), rows.length === 0 ? element("p", { class: "quiet" }, "None since the gateway started.") :
    element("table", {}, element("tbody", {}, rows.map(([name, value]) =>
      element("tr", {}, element("td", { class: "mono" }, name), element("td", { class: "number" }, format(value)))))));
}

/** How to connect a first device, with the addresses of this gateway. */
function firstDevice(status) {
  const tcp = status.gateway.tcp?.[0] ?? "0.0.0.0:5556";
  const port = tcp.slice(tcp.lastIndexOf(":") + 1);
  const host = location.hostname;
  return element("section", { class: "box" }, element("h2", {}, "No device is connected"),
    element("p", {}, "A device connects by TCP and sends JSON objects with a member ", element("code", {}, "Type"), ". Try it from a terminal:"),
    element("pre", {}, `(echo '{"Type":"Status","Door":"open"}'; sleep 5) | nc ${host} ${port}`),
    element("p", { class: "quiet" }, "The load simulator connects many: ", element("code", {}, `pulsegate-swarm --gateway ${host}:${port} --devices 3`)));
}

function overviewTiles(stats, history) {
  const series = history.series;
  const messages = Object.values(series.messages ?? {}).map(latest).filter((value) => value !== null);
  const beats = stats.beats.round_trip_us;
  return element("section", { class: "tiles" },
    tile("Devices", count(stats.connections.now), `${count(stats.connections.accepted)} since the start`),
    tile("Messages a second", messages.length ? rate(messages.reduce((a, b) => a + b, 0)) : none, "heartbeat answers included"),
    tile("Received a second", latest(series.bytes) === null ? none : bytes(latest(series.bytes)), `${bytes(stats.bytes.received)} since the start`),
    tile("Heartbeat round trip", microseconds(beats.p50), beats.p99 === null ? "no beat answered yet" : `99 % within ${microseconds(beats.p99)}`),
    tile("Memory", bytes(stats.memory.used_bytes), `of ${bytes(stats.memory.budget_bytes)}`),
    tile("Longest turn", microseconds(stats.longest_turn_us), "of the last minute"),
    tile("Rejected objects", count(sum(series.rejected)), "in the last hour"),
    tile("Closed connections", count(sum(series.closed)), "in the last hour"),
    tile("Refused", count(sum(series.refused)), "in the last hour"),
    tile("Missed events", count(sum(series.missed)), "in the last hour"));
}

function overviewPlots(stats, history) {
  const { series, step_s: step, end } = history;
  const common = { step, end };
  const perSecond = (value) => `${rate(value)}/s`;
  const types = Object.entries(series.messages ?? {}).filter(([, values]) => values.some((value) => value > 0));
  const one = (title, values, options) => plot(title, [[title, values ?? []]], { ...common, now: `${options.format(latest(values) ?? 0)} now`, ...options });
  return element("section", { class: "plots" },
    one("Connected devices", series.devices, { format: count, least: 4 }),
    plot("Messages a second", types.length ? types : [["messages", []]], { ...common, format: perSecond, now: types.length ? "by type" : "none yet" }),
    one("Received a second", series.bytes, { format: (value) => `${bytes(value)}/s`, isBytes: true, least: 1024 }),
    plot("Heartbeat round trip", [["half within", series.round_trip_p50_us ?? []], ["99 % within", series.round_trip_p99_us ?? []]],
      { ...common, format: microseconds, least: 1000, now: `of each ${step} s` }),
    one("Memory of the budget", series.memory_bytes, { format: bytes, isBytes: true, least: 1024 }),
    one("Longest turn", series.longest_turn_us, { format: microseconds, least: 1000 }),
    plot("Trouble", ["rejected", "refused", "closed", "missed"].map((name) => [name, series[name] ?? []]),
      { ...common, format: count, least: 4, now: `in each ${step} s` }),
    reasons("Closed, by reason", stats.connections.closed),
    element("div", {}, reasons("Refused, by reason", stats.connections.refused), reasons("Rejected objects, by reason", stats.rejected)));
}

function overview(main) {
  const body = element("div");
  fill(main, body);
  return repeat(5000, async () => {
    const [stats, history] = await Promise.all([get("api/stats"), get("api/history")]);
    const status = page.status;
    if (!status || body.contains(document.activeElement)) return;
    fill(body,
      health(status),
      stats.connections.now === 0 ? firstDevice(status) : null,
      overviewTiles(stats, history),
      overviewPlots(stats, history),
      element("section", {}, element("p", { class: "quiet" },
        `pulsegate ${stats.version}, running for ${duration(stats.uptime_s)}. Devices: ${(status.gateway.tcp ?? []).join(", ") || none}. `,
        `Discovery: ${(status.gateway.udp ?? []).join(", ") || "off"}.`)));
  });
}
