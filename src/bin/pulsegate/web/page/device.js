// One device: its figures, its messages as they come, its picture, and commands where they are allowed.

function facts(device) {
  const rows = [
    ["ID", `#${device.conn}`], ["Address", address(device)], ["Connected", duration(device.connected_s)], ["Last seen", duration(device.seen_s)],
    ["Credit", count(device.credit)], ["Objects", count(device.objects)], ["Received", bytes(device.bytes)], ["Last type", device.last_type ?? none],
  ];
  return element("dl", { class: "facts" }, rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

/** The form that sends a command, or how to allow it. */
function commandForm(conn) {
  const { commands, signed_in: signedIn } = page.status?.web ?? {};
  if (!commands) {
    return element("p", { class: "quiet" }, "This page only reads. Commands need ", element("code", {}, "web.commands = true"), " and ", element("code", {}, "web.token_file"), " in pulsegate.toml(5).");
  }
  if (!signedIn) return element("p", {}, element("a", { href: "#/sign-in" }, "Sign in"), " to send commands.");
  const text = element("input", { type: "text", id: "command", autocomplete: "off", spellcheck: "false", required: true });
  const result = element("p", { role: "status", class: "quiet" });
  const say = (promise, done) => promise.then(done, (error) => error.message).then((words) => { result.textContent = words; });
  const submit = (event) => {
    event.preventDefault();
    result.textContent = "Waiting until the device's connection takes it …";
    say(request("POST", `api/devices/${conn}/commands`, { text: text.value }), () => `Sent: ${text.value}`);
  };
  const remove = () => {
    if (confirm("Close this device's connection? The device may connect again.")) say(request("DELETE", `api/devices/${conn}`), () => "The connection is closed.");
  };
  return element("div", {},
    element("form", { class: "row", submit },
      element("div", { class: "grow" }, element("label", { for: "command" }, "Command, sent as it is"), text),
      element("button", {}, "Send"), element("button", { type: "button", class: "danger", click: remove }, "Close the connection")), result);
}

function device(main, conn) {
  const figures = element("div");
  const title = element("h1", {}, `Device #${conn}`);
  const canvas = element("canvas", { class: "picture", hidden: true });
  const caption = element("p", { class: "quiet" }, "The next picture in a message of this device appears here.");
  const onEvent = (event) => {
    if (event.event !== "message") return;
    const found = findPicture(event.data);
    if (!found) return;
    drawPicture(canvas, found.picture).then(
      (size) => { canvas.hidden = false; caption.textContent = `${found.path} of ${event.type}, ${clock(event.time)}: ${size}`; },
      () => { caption.textContent = `${found.path} of ${event.type}, ${clock(event.time)}: not a picture that this browser can show`; });
  };
  const list = eventList(() => new URLSearchParams({ device: `#${conn}` }).toString(), false, onEvent);
  fill(main, element("p", {}, element("a", { href: "#/devices" }, "All devices")),
    element("div", { class: "row" }, title),
    element("section", { class: "box" }, figures),
    element("section", {}, element("h2", {}, "Commands"), commandForm(conn)),
    element("section", {}, element("h2", {}, "Picture"), canvas, caption),
    element("section", {}, element("div", { class: "row" }, element("h2", {}, "Messages and rejected objects"), list.toggle), list.parts));
  const task = repeat(2000, async () => {
    try {
      const answer = await get(`api/devices/${conn}`);
      title.textContent = answer.device.name ?? `Device ${address(answer.device)}`;
      fill(figures, facts(answer.device));
    } catch (error) {
      if (error.status !== 404) throw error;
      fill(figures, element("p", {}, "This device is no longer connected. ", element("a", { href: "#/devices" }, "All devices")));
    }
  });
  return { stop() { task.stop(); list.stop(); } };
}
