// An object of a device, folded and shortened for people, and the picture in it.

const STRING_SHOWN = 120, ENTRIES_SHOWN = 200, DEPTH_OPEN = 2;

function leaf(value) {
  if (typeof value !== "string") return element("span", {}, String(value));
  const cut = value.length > STRING_SHOWN;
  const text = element("span", { class: "string mono" }, JSON.stringify(cut ? value.slice(0, STRING_SHOWN) : value));
  return cut ? element("span", {}, text, element("span", { class: "quiet" }, ` … ${plural(value.length, "character")}`)) : text;
}

/** Shows a value. What lies deeper than two levels is folded and made when it is unfolded. */
function tree(value, depth = 0, key = null) {
  const label = key === null ? [] : [element("span", { class: "key mono" }, key), ": "];
  if (value === null || typeof value !== "object") return element("div", {}, label, leaf(value));
  const entries = Object.entries(value);
  const size = Array.isArray(value) ? `[${plural(entries.length, "item")}]` : `{${plural(entries.length, "member")}}`;
  const list = element("div", { class: "tree" });
  const build = () => {
    if (list.firstChild) return;
    list.append(...entries.slice(0, ENTRIES_SHOWN).map(([key, inner]) => tree(inner, depth + 1, key)));
    if (entries.length > ENTRIES_SHOWN) list.append(element("div", { class: "quiet" }, `… and ${count(entries.length - ENTRIES_SHOWN)} more`));
  };
  if (depth < DEPTH_OPEN) build();
  if (depth === 0) return list;
  return element("details", { open: depth < DEPTH_OPEN, toggle: build }, element("summary", {}, label, element("span", { class: "quiet" }, size)), list);
}

const SIGNATURES = [["image/jpeg", "\xff\xd8\xff"], ["image/png", "\x89PNG\r\n\x1a\n"], ["image/gif", "GIF8"], ["image/webp", "RIFF"]];

/** The bytes of a picture in base64, with or without `data:` before it, or null. */
function pictureOf(text) {
  if (text.length < 64) return null;
  const base64 = text.startsWith("data:") ? text.slice(text.indexOf(",") + 1) : text;
  let start;
  try { start = atob(base64.slice(0, 64)); } catch { return null; }
  const found = SIGNATURES.find(([, signature]) => start.startsWith(signature));
  if (!found || (found[0] === "image/webp" && start.slice(8, 12) !== "WEBP")) return null;
  try {
    const all = atob(base64);
    return new Blob([Uint8Array.from(all, (character) => character.charCodeAt(0))], { type: found[0] });
  } catch { return null; }
}

/** The first picture anywhere in a value: its path in the object and its bytes. */
function findPicture(value, path = "") {
  if (typeof value === "string") {
    const picture = pictureOf(value);
    return picture && { path, picture };
  }
  if (value === null || typeof value !== "object") return null;
  for (const [key, inner] of Object.entries(value)) {
    const found = findPicture(inner, path === "" ? key : `${path}.${key}`);
    if (found) return found;
  }
  return null;
}

/** Draws a picture. A canvas needs no address, so the page's policy may forbid all but its own. */
async function drawPicture(canvas, blob) {
  const bitmap = await createImageBitmap(blob);
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return `${canvas.width} × ${canvas.height}, ${bytes(blob.size)}`;
}
