// The table of devices. The server sorts, searches and pages, so 18,000 devices are as quick as ten.

const PAGE = 100;
const COLUMNS = [
  ["name", "Device", false, (device) => device.name ?? address(device)],
  ["ip", "Address", false, address],
  ["connected_s", "Connected", true, (device) => duration(device.connected_s)],
  ["seen_s", "Last seen", true, (device) => duration(device.seen_s)],
  ["credit", "Credit", true, (device) => count(device.credit)],
  ["objects", "Objects", true, (device) => count(device.objects)],
  ["bytes", "Received", true, (device) => bytes(device.bytes)],
  ["last_type", "Last type", false, (device) => device.last_type ?? none],
];

function goneTable(answer) {
  if (!answer.gone?.length) return null;
  return element("section", {}, element("h2", {}, `Gone: ${plural(answer.gone_total, "name")}`),
    element("table", { class: "cards" },
      element("thead", {}, element("tr", {}, ["Name", "Address", "Since", "Reason"].map((name) => element("th", {}, name)))),
      element("tbody", {}, answer.gone.map((device) => element("tr", {},
        element("td", { class: "name" }, device.name),
        element("td", { "data-label": "Address" }, address(device)),
        element("td", { "data-label": "Since" }, clock(device.since)),
        element("td", { "data-label": "Reason", class: "mono" }, device.reason))))));
}

function devices(main) {
  const view = { query: "", sort: "name", offset: 0 };
  let task = null;
  const search = element("input", { type: "search", id: "search", autocomplete: "off", spellcheck: "false", input: () => { view.query = search.value; view.offset = 0; task.now(); } });
  const sortBy = (name) => { view.sort = view.sort === name ? `-${name}` : name; view.offset = 0; task.now(); };
  const heads = COLUMNS.map(([name, title, isNumber]) => element("th", { class: isNumber ? "number" : null, scope: "col" }, element("button", { type: "button", click: () => sortBy(name) }, title)));
  const choice = element("select", { id: "sort", change: () => { view.sort = choice.value; view.offset = 0; task.now(); } },
    COLUMNS.flatMap(([name, title]) => [element("option", { value: name }, `${title}, smallest first`), element("option", { value: `-${name}` }, `${title}, largest first`)]));
  const rows = element("tbody");
  const table = element("table", { class: "cards" }, element("thead", {}, element("tr", {}, heads)), rows);
  const summary = element("span", { class: "quiet", role: "status" });
  const back = element("button", { type: "button", click: () => { view.offset = Math.max(0, view.offset - PAGE); task.now(); } }, "Previous");
  const next = element("button", { type: "button", click: () => { view.offset += PAGE; task.now(); } }, "Next");
  const gone = element("div");
  const empty = element("div");
  fill(main, element("h1", {}, "Devices"),
    element("div", { class: "row" },
      element("div", { class: "grow" }, element("label", { for: "search" }, "Search by name, address, type or #ID"), search),
      element("div", {}, element("label", { for: "sort" }, "Sort by"), choice)),
    element("div", { class: "row" }, summary, back, next), element("div", { class: "scroll" }, table), empty, gone);
  let asked = 0;
  task = repeat(2000, async () => {
    const number = asked += 1;
    const query = new URLSearchParams({ query: view.query, sort: view.sort, offset: view.offset, limit: PAGE });
    const answer = await get(`api/devices?${query}`);
    if (number !== asked) return;
    if (answer.devices.length === 0 && view.offset > 0) { view.offset = 0; task.now(); return; }
    choice.value = view.sort;
    heads.forEach((head, index) => {
      const name = COLUMNS[index][0];
      if (view.sort.replace("-", "") === name) head.setAttribute("aria-sort", view.sort[0] === "-" ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    const focused = document.activeElement?.closest?.("tr")?.dataset.conn;
    fill(rows, answer.devices.map((device) => element("tr", { "data-conn": device.conn }, COLUMNS.map(([name, title, isNumber, text], index) =>
      element("td", { class: isNumber ? "number" : index === 0 ? "name" : null, "data-label": title },
        index === 0 ? element("a", { href: `#/devices/${device.conn}` }, text(device)) : text(device))))));
    rows.querySelector(`tr[data-conn="${focused}"] a`)?.focus();
    const last = view.offset + answer.devices.length;
    summary.textContent = answer.total === 0 ? "No device" : `${count(view.offset + 1)} to ${count(last)} of ${plural(answer.total, "device")}`;
    back.disabled = view.offset === 0;
    next.disabled = last >= answer.total;
    back.hidden = next.hidden = answer.total <= PAGE;
    table.hidden = answer.total === 0;
    fill(empty, answer.total > 0 ? null : view.query !== "" ? element("p", { class: "empty" }, `No connected device matches “${view.query}”.`) : page.status && firstDevice(page.status));
    fill(gone, goneTable(answer));
  });
  return task;
}
