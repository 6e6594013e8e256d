// Plots of the last hour: lines over time with a readable axis, and the values under the pointer or the arrow keys.

// On a narrow screen a drawing has fewer units, so that its text stays readable.
const WIDTH = matchMedia("(max-width: 640px)").matches ? 320 : 460;
const HEIGHT = 190, LEFT = 58, RIGHT = 10, TOP = 10, BOTTOM = 24;

/** Steps of 1, 2 or 5 times a power of ten (of 1,024 for bytes), at most five of them up to `most`. */
function ticks(most, isBytes) {
  const base = isBytes ? 1024 ** Math.floor(Math.log(Math.max(most, 1)) / Math.log(1024)) : 1;
  const scaled = most / base;
  let step = 10 ** Math.floor(Math.log10(scaled / 4));
  for (const factor of [1, 2, 5, 10]) if (scaled / (step * factor) <= 4) { step *= factor; break; }
  const list = [];
  for (let value = 0; value < scaled + step * 0.999; value += step) list.push(value * base);
  return list;
}

/**
 * Draws lines. `series` is a list of `[name, values]`, each value one step of `step` seconds, the last one at `end`.
 * `null` is a time without a value: the line has a gap there.
 */
function plot(title, series, { step, end, format, isBytes = false, least = 1, now }) {
  const length = Math.max(...series.map(([, values]) => values.length), 2);
  const most = Math.max(least, ...series.flatMap(([, values]) => values.filter((value) => value !== null)));
  const marks = ticks(most, isBytes);
  const top = marks[marks.length - 1];
  const x = (index) => LEFT + ((WIDTH - LEFT - RIGHT) * index) / (length - 1);
  const y = (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / top;
  const picture = drawn("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, "aria-label": `${title}, ${now}` });
  for (const mark of marks) {
    picture.append(
      drawn("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(mark), y2: y(mark) }),
      drawn("text", { x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" }, format(mark)),
    );
  }
  const last = new Date(end).getTime();
  const timeOf = (index) => new Date(last - (length - 1 - index) * step * 1000);
  for (let part = 0; part <= 4; part += 1) {
    const index = Math.round(((length - 1) * part) / 4);
    const anchor = part === 0 ? "start" : part === 4 ? "end" : "middle";
    const text = timeOf(index).toLocaleTimeString("en-GB", length * step > 240 ? { hour: "2-digit", minute: "2-digit" } : {});
    picture.append(drawn("text", { x: x(index), y: HEIGHT - 6, "text-anchor": anchor }, text));
  }
  series.forEach(([, values], number) => {
    let path = "";
    let pen = "M";
    values.forEach((value, index) => {
      if (value === null) { pen = "M"; return; }
      const alone = pen === "M" && (values[index + 1] ?? null) === null ? "h0.1" : "";
      path += `${pen}${x(length - values.length + index).toFixed(1)} ${y(value).toFixed(1)}${alone}`;
      pen = "L";
    });
    picture.append(drawn("path", { class: `s${number % 5}`, d: path }));
  });
  const readout = element("span", { class: "quiet", "aria-live": "polite" }, now);
  const cursor = drawn("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  picture.append(cursor);
  let at = length - 1;
  function show(index) {
    at = Math.min(length - 1, Math.max(0, index));
    cursor.setAttribute("x1", x(at));
    cursor.setAttribute("x2", x(at));
    cursor.setAttribute("visibility", "visible");
    const values = series.map(([name, list]) => {
      const value = list[at - (length - list.length)] ?? null;
      return `${series.length > 1 ? `${name} ` : ""}${value === null ? none : format(value)}`;
    });
    readout.textContent = `${timeOf(at).toLocaleTimeString("en-GB")}: ${values.join(", ")}`;
  }
  function hide() { cursor.setAttribute("visibility", "hidden"); readout.textContent = now; }
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * WIDTH;
    show(Math.round(((place - LEFT) / (WIDTH - LEFT - RIGHT)) * (length - 1)));
  });
  picture.addEventListener("pointerleave", hide);
  picture.addEventListener("blur", hide);
  picture.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(at - 1);
    else if (event.key === "ArrowRight") show(at + 1);
    else return;
    event.preventDefault();
  });
  const legend = series.length < 2 ? null : element("div", { class: "legend" }, series.map(([name], number) =>
    element("span", {}, drawn("svg", { viewBox: "0 0 16 8", "aria-hidden": true }, drawn("path", { class: `s${number % 5}`, d: "M0 4h16" })), name)));
  return element("figure", { class: "box" }, element("figcaption", {}, element("strong", {}, title), readout), picture, legend);
}
