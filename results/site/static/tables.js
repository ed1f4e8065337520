// Tabs, filters, tables and what can be taken from them.

const DATA = JSON.parse(document.getElementById("data").textContent);
for (const table of DATA.tables) {
  table.data = DATA.sources[table.source];
  table.rows = DATA.opens[table.source]; // the cases that each row opens
}
const TABLES = Object.fromEntries(DATA.tables.map((table) => [table.name, table]));
const drawn = {}; // name of a table -> its DataTable, once its tab was open
let applying = false; // while the address is applied it is not written

function chosen() {
  const state = readState();
  return Object.fromEntries(Object.keys(allFilters()).map((name) => [name, new Set(state.getAll(name))]));
}

// Each filter's values over all tables, in the order of the tables.
function allFilters() {
  const found = {};
  for (const table of DATA.tables) {
    for (const [name, columns] of Object.entries(table.filters)) {
      found[name] ??= new Set();
      for (const column of columns) {
        const data = table.data[column];
        for (const value of data.words ?? new Set(data.values)) found[name].add(String(value));
      }
    }
  }
  return found;
}

function passes(table, row, wanted) {
  return Object.entries(table.filters).every(([name, columns]) =>
    !wanted[name].size || columns.some((column) => wanted[name].has(String(word(table.data[column], row)))));
}

function buildFilters() {
  const place = document.getElementById("filters");
  for (const [name, values] of Object.entries(allFilters())) {
    if (values.size < 2) continue;
    const box = document.createElement("details");
    const title = name === "clip" ? "threshold" : name;
    const choices = [...values].map((value) =>
      `<label><input type="checkbox" name="${name}" value="${escapeHTML(value)}"> <bdi>${escapeHTML(value)}</bdi></label>`);
    box.innerHTML = `<summary data-title="${title}">${title}</summary><div class="choices">${choices.join("")}</div>`;
    place.append(box);
  }
  const all = document.createElement("button");
  all.type = "button";
  all.textContent = "Show all";
  all.addEventListener("click", () => { writeState(clearFilters); applyState(); });
  place.append(all);
  place.addEventListener("change", (event) => {
    const box = event.target;
    writeState((state) => {
      const kept = state.getAll(box.name).filter((value) => value !== box.value);
      state.delete(box.name);
      for (const value of box.checked ? [...kept, box.value] : kept) state.append(box.name, value);
    });
    applyState();
  });
  document.addEventListener("click", (event) => {
    for (const box of place.querySelectorAll("details[open]")) if (!box.contains(event.target)) box.open = false;
  });
}

function clearFilters(state) {
  for (const name of [...Object.keys(allFilters()), "q"]) state.delete(name);
}

function drawTable(name) {
  if (drawn[name]) return drawn[name];
  const table = TABLES[name];
  const visible = table.columns.map((column, at) => ({
    title: `<span title="${escapeHTML(column.hint ?? "")}">${escapeHTML(column.title)}</span>`,
    className: isNumeric(column) ? "number" : column.kind === "long" ? "text long" : "text",
    type: "num",
    orderSequence: isNumeric(column) ? ["desc", "asc"] : ["asc", "desc"],
    data: (row, kind) => {
      if (kind === "sort" || kind === "type") return sortable(table, column, row.at);
      if (kind === "filter") return written(table, column, row.at)[0];
      if (kind === "export") return String(word(table.data[column.key], row.at) ?? "");
      const body = asHTML(table, column, row.at);
      return at === 0 ? `<button type="button" class="open">${body}</button>` : body;
    },
  }));
  // Ends of intervals and totals: columns of their own where the table is taken away.
  const ends = [...new Set(table.columns.flatMap((column) => [column.low, column.high, column.of]).filter(Boolean))]
    .filter((key) => table.columns.every((column) => column.key !== key));
  const hidden = ends.map((key) => ({
    title: key, visible: false, searchable: false, orderable: false,
    data: (row) => String(word(table.data[key], row.at) ?? ""),
  }));
  const names = [...table.columns.map((column) => column.title), ...ends];
  const element = document.getElementById(`table-${name}`);
  const made = jQuery(element).DataTable({
    data: Array.from({length: table.count}, (_, at) => ({at})),
    columns: [...visible, ...hidden],
    deferRender: true,
    autoWidth: false,
    order: [],
    pageLength: 25,
    lengthMenu: [10, 25, 100, 500],
    layout: {topStart: "pageLength", topEnd: "search", bottomStart: "info", bottomEnd: "paging"},
    buttons: {
      dom: {container: {className: "take"}, button: {className: ""}},
      buttons: [
        {
          extend: "csvHtml5", text: "CSV of this view", filename: name, title: null, does: "Saved",
          exportOptions: {
            orthogonal: "export",
            format: {header: (_title, at) => quoteFormula(names[at]), body: (value) => quoteFormula(value)},
          },
        },
        {extend: "copyHtml5", text: "Copy as Markdown", does: "Copied", copySuccess: false,
          customize: (_text, _config, made) => markdown(table, shownRows(made))},
        {extend: "copyHtml5", text: "Copy as LaTeX", does: "Copied", copySuccess: false,
          customize: (_text, _config, made) => latex(table, shownRows(made))},
      ],
    },
    language: {emptyTable: "Nothing to show.", zeroRecords: "No row passes the filters.", search: "Search:"},
  });
  const tools = document.querySelector(`#panel-${name} .tools`);
  tools.prepend(made.buttons().container()[0]);
  made.on("buttons-action", (_event, _button, _table, _node, config) => {
    tools.querySelector("[role=status]").textContent = `${config.does} ${shownRows(made).length} rows.`;
  });
  const unfold = document.createElement("button");
  unfold.type = "button";
  unfold.className = "unfold";
  unfold.setAttribute("aria-pressed", "false");
  unfold.addEventListener("click", () => {
    unfold.setAttribute("aria-pressed", String(unfold.getAttribute("aria-pressed") !== "true"));
    fold(name);
  });
  tools.prepend(unfold);
  made.search.fixed("filters", (_text, row) => passes(table, row.at, wanted));
  made.on("order.dt", () => {
    if (applying) return;
    const [first] = made.order();
    setOne("sort", first ? `${table.columns[first[0]].key}:${first[1]}` : "");
  });
  made.on("search.dt", () => { if (!applying) setOne("q", made.search()); });
  element.tBodies[0].addEventListener("click", (event) => {
    const line = event.target.closest("tr");
    const row = line && made.row(line).data();
    if (row) openRow(table, row.at);
  });
  return (drawn[name] = made);
}

// Hide columns, those of the highest rank first and of one rank the last first, until the table fits its place.
function fold(name) {
  const table = TABLES[name];
  const made = drawn[name];
  const panel = document.getElementById(`panel-${name}`);
  const unfold = panel.querySelector(".unfold");
  if (panel.hidden) return;
  const place = panel.querySelector(".scroll");
  const order = table.columns.map((column, at) => [column.rank, at]).filter(([rank]) => rank > 0).sort((a, b) => b[0] - a[0] || b[1] - a[1]);
  made.columns(order.map(([, at]) => at)).visible(true, false);
  const whole = unfold.getAttribute("aria-pressed") === "true";
  let hidden = 0;
  const element = document.getElementById(`table-${name}`);
  while (!whole && hidden < order.length && element.scrollWidth > place.clientWidth + 1) {
    made.column(order[hidden][1]).visible(false, false);
    hidden += 1;
  }
  unfold.hidden = !hidden && !whole;
  unfold.textContent = whole ? "Fold columns that do not fit" : `Show ${hidden} folded columns`;
}

let wanted = {};

// Bring tab, filters, search and order to what the address says.
function applyState() {
  applying = true;
  const state = readState();
  wanted = chosen();
  for (const input of document.querySelectorAll("#filters input")) input.checked = wanted[input.name].has(input.value);
  for (const title of document.querySelectorAll("#filters summary")) {
    const count = title.parentElement.querySelectorAll("input:checked").length;
    title.textContent = count ? `${title.dataset.title} (${count})` : title.dataset.title;
  }
  const name = TABLES[state.get("tab")] ? state.get("tab") : DATA.tables[0]?.name;
  if (name) {
    for (const table of DATA.tables) {
      const tab = document.getElementById(`tab-${table.name}`);
      tab.setAttribute("aria-selected", String(table.name === name));
      tab.tabIndex = table.name === name ? 0 : -1;
      document.getElementById(`panel-${table.name}`).hidden = table.name !== name;
    }
    const made = drawTable(name);
    const [key, way] = (state.get("sort") ?? "").split(/:(?=[a-z]+$)/);
    const at = TABLES[name].columns.findIndex((column) => column.key === key);
    made.order(at < 0 ? [] : [[at, way === "desc" ? "desc" : "asc"]]).search(state.get("q") ?? "").draw();
    fold(name);
  }
  applying = false;
}

function buildTabs() {
  const tabs = [...document.querySelectorAll("#tabs button")];
  const show = (tab) => { setOne("tab", tab.id.slice(4)); setOne("sort", ""); applyState(); tab.focus(); };
  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (step) show(tabs[(at + step + tabs.length) % tabs.length]);
    });
  }
}

// The rows that pass the filters and the search, in the order that is shown.
function shownRows(made) {
  return made.rows({search: "applied", order: "applied"}).data().toArray().map((row) => row.at);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}
