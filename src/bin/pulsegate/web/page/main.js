// The frame: which view is shown, what the gateway's state is, and signing in.

const page = { status: null, view: null };

function signIn(main) {
  const token = element("input", { type: "password", id: "token", autocomplete: "current-password", required: true });
  const result = element("p", { role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    try {
      await request("POST", "api/sign-in", { token: token.value });
      await check.now();
      location.hash = "#/devices";
    } catch (error) { result.textContent = error.message; token.select(); }
  };
  fill(main, element("h1", {}, "Sign in"),
    element("form", { class: "row", submit }, element("div", { class: "grow" }, element("label", { for: "token" }, "Token, the content of web.token_file"), token), element("button", {}, "Sign in")), result);
  token.focus();
  return { stop() {} };
}

async function signOut() {
  await request("POST", "api/sign-out", {}).catch(() => {});
  await check.now();
  route();
}

function session(web) {
  if (!web?.commands) return [];
  return web.signed_in ? [element("button", { type: "button", click: signOut }, "Sign out")] : [element("a", { href: "#/sign-in" }, "Sign in")];
}

function route() {
  page.view?.stop();
  const main = document.getElementById("main");
  const path = location.hash.slice(1) || "/";
  const one = path.match(/^\/devices\/(\d+)$/);
  const views = { "/": overview, "/devices": devices, "/events": events, "/sign-in": signIn };
  page.view = one ? device(main, one[1]) : (views[path] ?? overview)(main);
  for (const link of document.querySelectorAll("nav a")) {
    const target = link.getAttribute("href").slice(1);
    if (target === path || (one && target === "/devices")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Says that the figures are old, and from when, or that they are fresh. */
function banner(words) {
  const place = document.getElementById("banner");
  place.hidden = words === null;
  if (place.textContent !== (words ?? "")) place.textContent = words ?? "";
  document.body.classList.toggle("stale", words !== null);
}

let seen = null;
const check = repeat(2000, async () => {
  const from = () => (seen ? ` The page shows what it knew at ${clock(seen)}.` : "");
  try {
    page.status = await get("api/status");
  } catch (error) {
    banner(`${error.message}.${from()} Trying again every 2 s.`);
    return;
  }
  const { gateway, web } = page.status;
  if (gateway.connected) { seen = new Date().toISOString(); banner(null); }
  else banner(`The gateway does not answer: ${gateway.error}.${from()}`);
  const name = gateway.name ? `pulsegate · ${gateway.name}` : "pulsegate";
  document.getElementById("gateway").textContent = name;
  document.title = `${gateway.connected ? "" : "(away) "}${name}`;
  fill(document.getElementById("session"), session(web));
  if (!page.view) route();
});
addEventListener("hashchange", () => { route(); document.getElementById("main").focus(); });
