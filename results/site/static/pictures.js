// Everything that plotly draws; its script is loaded when the first picture is about to be seen.

let plotly = null;
const CONFIG = {displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"]};

function needPlotly() {
  plotly ??= loadScript(`${DATA.beside}/plotly.min.js`).then(() => window.Plotly);
  return plotly;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// The layout with the page's colours on whatever has none of its own.
function themed(layout) {
  const axis = {gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line")};
  const axes = Object.keys(layout).filter((name) => /^[xy]axis/.test(name));
  return {
    ...layout,
    ...Object.fromEntries(axes.map((name) => [name, {...axis, ...layout[name]}])),
    font: {color: colour("--ink"), family: "system-ui, sans-serif", size: 13},
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    modebar: {bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--ink")},
    hoverlabel: {bgcolor: colour("--tint"), font: {color: colour("--ink")}},
  };
}

async function draw(place, figure) {
  place.figure = figure;
  try {
    const made = await needPlotly();
    await made.react(place, structuredClone(figure.data), themed(structuredClone(figure.layout)), CONFIG);
  } catch (error) {
    place.textContent = error.message;
  }
}

function redraw() {
  for (const place of document.querySelectorAll("[data-chart], [data-curve]")) if (place.figure) draw(place, place.figure);
}

function buildPictures() {
  const seen = new IntersectionObserver((entries) => {
    for (const {target, isIntersecting} of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      draw(target, DATA.charts[target.dataset.chart]);
    }
  }, {rootMargin: "300px"});
  for (const place of document.querySelectorAll("[data-chart]")) seen.observe(place);
}

// The three curves of a case.

function drawCurves(one) {
  const own = DATA.colours[one.facts.framework] ?? "#949494";
  const put = (name, data, layout, missing) => {
    const place = opened.querySelector(`[data-curve=${name}]`);
    if (!data.length) place.textContent = missing;
    else draw(place, {data, layout: {height: 320, margin: {l: 62, r: 8, t: 60, b: 40}, legend: {orientation: "h", y: 1.02, yanchor: "bottom"}, ...layout}});
  };
  const line = (x, y, name, more) => ({x, y, name, mode: "lines", line: {color: own, ...more}, connectgaps: false});
  const {evaluations, training, flow} = one;
  const learning = [];
  if (training.loss) learning.push({...line(training.step, training.loss, "training", {width: 1}), opacity: 0.45});
  if (evaluations.loss) learning.push({...line(evaluations.step, evaluations.loss, "evaluation", {width: 2}), mode: "lines+markers"});
  put("learning", learning, {...axes("training step", one.unit ? `loss (${escapeHTML(one.unit)})` : "loss", true), shapes: one.floor ? [level(one.floor)] : []}, "No curve lies beside this row.");
  const norms = !training.norm_before ? [] : one.facts.clip === "backprop"
    ? [line(training.step, training.norm_after, "of the gradient that came out", {width: 1.5})]
    : [line(training.step, training.norm_before, "before the clip", {width: 1.5}),
       line(training.step, training.norm_after, "after the clip", {width: 2, dash: "dot", color: colour("--ink")})];
  const limit = one.facts.clip === "norm" ? [level(one.facts.threshold)] : [];
  put("norms", norms, {...axes("training step", "global norm (L2)", true), shapes: limit}, "No curve lies beside this row.");
  put("flow", flow.time ? profiles(flow, line) : [], axes("step before the scored ones", "norm, relative", true), "The gradient through time was not looked at.");
}

function profiles(flow, line) {
  const looks = {start: {dash: "dot", width: 1.2}, middle: {dash: "dash", width: 1.5}, end: {width: 2.2}};
  const x = flow.time.map((time) => time - flow.before);
  const found = [];
  for (const [kind, title] of [["h", "dL/dh"], ["c", "dL/dc"]]) {
    for (const [point, norms] of Object.entries(flow[kind] ?? {})) {
      const last = norms.findLast((_, at) => flow.time[at] <= flow.before);
      if (!last) continue;
      const look = kind === "c" ? {...looks[point], color: colour("--soft")} : looks[point];
      found.push(line(x, norms.map((norm) => norm / last), `${title} ${point}`, look));
    }
  }
  return found;
}

// One row over the sets of a history; pointed at, a set says its commit.
function drawSeries(place, values, title, framework) {
  const own = DATA.colours[String(framework).split(" ")[0]] ?? "#767676";
  const series = axes("commit of the set, oldest first", escapeHTML(title), false);
  const shown = Math.ceil(values.length / 12); // of many sets every so many is named
  const named = values.map((_, at) => at).filter((at) => at % shown === 0);
  Object.assign(series.xaxis, {tickvals: named.map((at) => at + 1), ticktext: named.map((at) => escapeHTML(String(DATA.points[at] ?? "").split(", ").at(-1).slice(0, 7))), automargin: true});
  const data = [{x: values.map((_, at) => at + 1), y: values, text: DATA.points, mode: "lines+markers", line: {color: own}, hovertemplate: "%{text}: %{y:.4g}<extra></extra>"}];
  draw(opened.querySelector(`[data-curve=${place}]`), {data, layout: {height: 280, margin: {l: 62, r: 8, t: 20, b: 70}, ...series}});
}

function axes(x, y, log) {
  return {xaxis: {title: {text: x}}, yaxis: {title: {text: y}, type: log ? "log" : "linear", exponentformat: "power"}};
}

function level(y) {
  return {type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: {color: "#767676", width: 1, dash: "dash"}};
}
