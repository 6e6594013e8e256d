"use strict";
// Elements, numbers and times for people. What a device sent reaches the page as text only, never as markup.

/** Makes an element. Attributes that are functions become listeners, `null` and `false` leave an attribute out. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== null && value !== false && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Makes an element of a drawing. */
function drawn(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const none = "–";

function count(value) { return value === null || value === undefined ? none : whole.format(value); }

function rate(value) {
  if (value === null || value === undefined) return none;
  return value >= 100 ? whole.format(value) : short.format(value);
}

function bytes(value) {
  if (value === null || value === undefined) return none;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit === 0 ? whole.format(value) : short.format(value)} ${units[unit]}`;
}

function microseconds(value) {
  if (value === null || value === undefined) return none;
  if (value >= 1e6) return `${short.format(value / 1e6)} s`;
  if (value >= 1e3) return `${short.format(value / 1e3)} ms`;
  return `${whole.format(value)} µs`;
}

/** A length of time, its two largest units. */
function duration(seconds) {
  if (seconds === null || seconds === undefined) return none;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = units.findIndex(([size]) => seconds >= size);
  const [size, name] = units[first];
  const next = units[first + 1];
  const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
  return `${Math.floor(seconds / size)} ${name}${rest ? ` ${rest} ${next[1]}` : ""}`;
}

/** The local time of day. A time of another day has its date. */
function clock(text) {
  const time = new Date(text);
  const today = time.toDateString() === new Date().toDateString();
  return today ? time.toLocaleTimeString("en-GB") : time.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });
}

function plural(number, word) { return `${count(number)} ${word}${number === 1 ? "" : "s"}`; }

/** The address as devices write it: IPv6 in brackets. */
function address(device) {
  const ip = device.ip.includes(":") ? `[${device.ip}]` : device.ip;
  return device.port ? `${ip}:${device.port}` : device.ip;
}

/** Puts new children into an element without losing the keyboard's focus to a part that did not change. */
function fill(target, ...children) { target.replaceChildren(...children.flat().filter(Boolean)); }
