// The stream of events, of all devices or of one.

const KEPT = 300;

function eventTitle(event) {
  const device = event.ip ? (event.name ?? address(event)) : "";
  const words = {
    message: () => event.type,
    rejected: () => `${event.reason} at byte ${count(event.offset)}`,
    disconnect: () => event.reason,
    identified: () => event.name,
    command: () => `#${event.command} ${event.state}`,
  };
  return [device, words[event.event]?.() ?? ""];
}

function eventRow(event, withDevice) {
  if (event.event === "missed") {
    return element("li", { class: "missed" }, `${plural(event.events, "event")} missed here: this page or pulsegate web was too slow.`);
  }
  const [device, words] = eventTitle(event);
  const head = [
    element("time", { datetime: event.time, class: "quiet" }, clock(event.time)), " ",
    element("span", { class: event.event === "rejected" || event.event === "disconnect" ? "tag bad" : "tag" }, event.event), " ",
    withDevice && device && event.conn ? element("a", { href: `#/devices/${event.conn}` }, device) : withDevice ? device : null, " ", words,
  ];
  const detail = event.event === "message" ? event.data : Object.fromEntries(Object.entries(event).filter(([key]) => !["event", "time", "conn", "ip", "port", "seq"].includes(key)));
  if (Object.keys(detail ?? {}).length === 0) return element("li", {}, element("div", { class: "line" }, head));
  const body = element("div");
  return element("li", {}, element("details", { toggle: () => { if (!body.firstChild) body.append(tree(detail)); } }, element("summary", {}, head), body));
}

/** A list that grows at its top, keeps the newest 300 rows, and stops while a person reads. */
function eventList(query, withDevice, onEvent = () => {}) {
  const list = element("ol", { class: "stream" });
  const empty = element("p", { class: "empty" }, "Waiting for the next event …");
  const missed = element("p", { role: "status", class: "quiet" });
  let stop = null;
  let lost = 0;
  const toggle = element("button", { type: "button", click: () => { if (stop) { stop(); stop = null; toggle.textContent = "Go on"; } else start(); } });
  function start() {
    toggle.textContent = "Stop";
    stop = follow(query(), (event) => {
      empty.hidden = true;
      if (event.event === "missed") { lost += event.events; missed.textContent = `${plural(lost, "event")} missed since this list began.`; }
      list.prepend(eventRow(event, withDevice));
      while (list.children.length > KEPT) list.lastChild.remove();
      onEvent(event);
    });
  }
  start();
  return {
    parts: [missed, empty, list], toggle,
    restart() { if (stop) stop(); list.replaceChildren(); empty.hidden = false; start(); },
    stop() { if (stop) stop(); },
  };
}

function events(main) {
  const type = element("input", { type: "search", id: "type", autocomplete: "off", spellcheck: "false", change: () => list.restart() });
  const device = element("input", { type: "search", id: "device", autocomplete: "off", spellcheck: "false", change: () => list.restart() });
  const query = () => new URLSearchParams(Object.entries({ type: type.value.trim(), device: device.value.trim() }).filter(([, value]) => value !== "")).toString();
  const list = eventList(query, true);
  fill(main, element("h1", {}, "Events"),
    element("div", { class: "row" },
      element("div", { class: "grow" }, element("label", { for: "type" }, "Messages of one type only, such as Status"), type),
      element("div", { class: "grow" }, element("label", { for: "device" }, "One device only: @NAME, #ID, IP or IP:PORT"), device),
      list.toggle), list.parts);
  return list;
}
