// What a row opens: curves, diagnosis, environment and command of one case, or the facts of a timed step.

const opened = document.getElementById("opened");
const shards = {}; // number of a shard -> promise of its cases
const arrived = {};
window.farreach = {shard: (number, cases) => { arrived[number] = cases; }};

function loadScript(path) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = path;
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${path} is not there: the folder ${DATA.beside}/ belongs beside this page`));
    document.head.append(script);
  });
}

async function loadCase(place) {
  const number = Math.floor(place / DATA.shard);
  shards[number] ??= loadScript(`${DATA.beside}/curves-${number}.js`);
  await shards[number];
  return arrived[number][DATA.keys[place]];
}

function openRow(table, row) {
  if (table.opens === "facts") {
    setOne("row", `${table.name}:${row}`);
    showFacts(table, row);
    return;
  }
  const places = table.rows[row];
  if (places.length) {
    setOne("row", DATA.keys[places[0]]);
    showCase(places[0]);
  } else {
    showMessage(`The cases of this line are beyond what the page holds; ${DATA.beside}/cases.parquet has them.`);
  }
}

// Open what the address names: the key of a case, or table:row.
function openFromState() {
  const name = readState().get("row");
  const [table, row] = (name ?? "").split(":");
  if (TABLES[table]?.opens === "facts" && Number(row) < TABLES[table].count) showFacts(TABLES[table], Number(row));
  else if (DATA.keys.includes(name)) showCase(DATA.keys.indexOf(name));
  else if (name) showMessage("The case that this link names is not in this set.");
  else if (opened.open) opened.close();
}

function show(title, body) {
  document.getElementById("opened-title").innerHTML = title;
  document.getElementById("opened-body").innerHTML = body;
  if (!opened.open) opened.showModal();
}

function showMessage(text) {
  show("No curves", `<p>${escapeHTML(text)}</p>`);
}

function listed(facts) {
  const line = ([name, value]) =>
    `<div><dt>${escapeHTML(name.replace(/^metric\./, "").replaceAll("_", " "))}</dt><dd><bdi>${escapeHTML(typeof value === "number" ? number(value) : value)}</bdi></dd></div>`;
  return `<dl>${Object.entries(facts).filter(([, value]) => value !== null).map(line).join("")}</dl>`;
}

function command(text) {
  return `<h3>Make it again</h3><div class="command"><code><bdi>${escapeHTML(text)}</bdi></code><button type="button" data-command>Copy</button></div>`;
}

function showFacts(table, row) {
  const {again, ...facts} = Object.fromEntries(Object.entries(table.data).map(([name, data]) => [name, word(data, row)]));
  for (const column of table.columns) { // marks for the table, not figures
    delete facts[column.best];
    delete facts[column.word];
  }
  const series = Object.entries(table.series);
  for (const [name] of series) delete facts[name];
  const places = series.map((_, at) => `<div><h4>${escapeHTML(series[at][1])}</h4><div data-curve="series-${at}"></div></div>`);
  show(escapeHTML(table.title), `<div class="curves">${places.join("")}</div>${again ? command(again) : ""}<h3>Figures</h3>${listed(facts)}`);
  for (const [at, [name, title]] of series.entries()) drawSeries(`series-${at}`, table.data[name].values[row], title, facts.framework);
}

// The line of a table that holds a case, so that its other seeds stand beside it.
function siblings(place) {
  const lines = DATA.tables.find((table) => table.opens === "runs")?.rows ?? [];
  return lines.find((places) => places.includes(place)) ?? [place];
}

async function showCase(place) {
  let one;
  const others = siblings(place);
  let seeds;
  try {
    one = await loadCase(place);
    seeds = await Promise.all(others.map(async (other) => [other, (await loadCase(other)).facts.seed]));
  } catch (error) {
    showMessage(error.message);
    return;
  }
  const {facts} = one;
  const clip = facts.clip === "none" ? "no clip" : `${facts.clip} ${facts.threshold}`;
  const given = Object.entries(JSON.parse(facts.parameters)).map(([name, value]) => `${name}=${value}`).join(" ");
  const copy = facts.replicate ? `, copy ${facts.replicate}` : "";
  const title = `<bdi>${escapeHTML(`${facts.task} ${given}`)}</bdi>, <bdi>${escapeHTML(facts.cell)}</bdi>, ${escapeHTML(clip)}, <bdi>${escapeHTML(facts.framework)}</bdi>, seed ${escapeHTML(facts.seed)}${escapeHTML(copy)}`;
  const buttons = seeds.map(([other, seed]) =>
    `<button type="button" data-place="${other}" aria-pressed="${other === place}">seed ${escapeHTML(seed)}</button>`).join("");
  const remarks = one.remarks ? `<p class="note">${escapeHTML(one.remarks)}.</p>` : "";
  show(title, `<div class="seeds" role="group" aria-label="Seeds">${buttons}</div>
    <p><strong>Diagnosis</strong> ${escapeHTML(one.diagnosis)}.</p>${remarks}
    <div class="curves">
      <div><h4>Learning curve</h4><div data-curve="learning"></div></div>
      <div><h4>Norm before and after the clip</h4><div data-curve="norms"></div></div>
      <div><h4>Gradient through time</h4><div data-curve="flow"></div></div>
    </div>
    ${command(one.again)}
    <h3>Case, result and environment</h3>${listed(facts)}`);
  setOne("row", DATA.keys[place]);
  drawCurves(one);
}

function buildPanel() {
  opened.addEventListener("close", () => setOne("row", ""));
  opened.addEventListener("click", (event) => {
    const place = event.target.closest("[data-place]")?.dataset.place;
    if (place) showCase(Number(place));
    if (event.target === opened) opened.close(); // beside the panel
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-command]");
    if (!button) return;
    const done = await copy(button.parentElement.querySelector("code").textContent);
    button.textContent = done ? "Copied" : "Not copied";
  });
}
