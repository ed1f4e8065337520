// How a value of a table is written: as HTML, as plain text, as Markdown and as LaTeX.

const DASH = "\u2013";

function escapeHTML(text) {
  return String(text).replace(/[&<>"']/g, (one) => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})[one]);
}

function escapeMarkdown(text) {
  return escapeHTML(text).replace(/([\\|`*_[\]~$#])/g, "\\$1").replace(/\s+/g, " ");
}

const LATEX = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}", "\u2013": "--"};

function escapeLaTeX(text) {
  return String(text).replace(/[\\~^<>\u2013&%$#_{}]/g, (one) => LATEX[one] ?? `\\${one}`).replace(/\s+/g, " ");
}

// A text that a spreadsheet would run, with an apostrophe before it; a number is none, nor is a list of them.
function quoteFormula(text) {
  const cell = String(text);
  if (!/^(\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])/.test(cell)) return cell;
  return cell.split(/[\s,]+/).every((part) => part === "" || Number.isFinite(Number(part))) ? cell : `'${cell}`;
}

function percent(share) {
  if (share > 0 && share < 0.01) return "<1 %";
  if (share > 0.99 && share < 1) return ">99 %";
  return `${Math.round(100 * share)} %`;
}

function number(value) {
  if (value === null || value === undefined) return DASH;
  const size = Math.abs(value);
  if (size >= 1e9) return value.toExponential(2);
  if (Number.isInteger(value)) return String(value);
  if (size < 1e-4) return value.toExponential(2);
  return size >= 1000 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
}

const BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588";

// The scale of a line of numbers: from 0, or the least below it, to the largest, or to what the column reaches at least.
function scale(values, most) {
  const seen = values.filter((value) => value !== null);
  const low = Math.min(0, ...seen);
  return [low, Math.max(most, ...seen) - low || Infinity];
}

// A list of numbers as a line of blocks on its scale; a space where there is none.
function blocks(values, most = 0) {
  const [low, wide] = scale(values, most);
  return values.map((value) => (value === null ? " " : BLOCKS[Math.min(7, Math.floor(((value - low) / wide) * 8))])).join("");
}

// The same as a picture: a line with a gap where there is none, and a dot at the newest.
function sparkline(values, most = 0) {
  const seen = values.filter((value) => value !== null);
  if (!seen.length) return DASH;
  const [low, wide] = scale(values, most);
  const place = (value, at) => `${(4 + (92 * at) / Math.max(1, values.length - 1)).toFixed(1)},${(20 - (16 * (value - low)) / wide).toFixed(1)}`;
  let path = "";
  let pen = "M";
  for (const [at, value] of values.entries()) {
    if (value !== null) path += pen + place(value, at);
    pen = value === null ? "M" : "L";
  }
  const last = values.findLastIndex((value) => value !== null);
  const [x, y] = place(values[last], last).split(",");
  return `<svg class="spark" viewBox="0 0 100 24" role="img" aria-label="${blocks(values, most)}: ${number(Math.min(...seen))} to ${number(Math.max(...seen))}"><path d="${path}"/><circle cx="${x}" cy="${y}" r="2.5"/></svg>`;
}

const WRITE = {number, fixed: (value) => value.toFixed(2).replace("-0.00", "0.00"), share: percent};

// The value of one column in one row, as it sorts: text by its place in its list, which is in the order of the report.
function sortable(table, column, row) {
  const data = table.data[column.key];
  if (column.kind === "spark") return data.values[row].findLast((value) => value !== null) ?? -Infinity;
  return data.codes ? data.codes[row] : (data.values[row] ?? -Infinity);
}

function word(data, row) {
  return data.codes ? data.words[data.codes[row]] : data.values[row];
}

// The value and its interval as text: ["0.97", "0.95 to 0.99"]; the second is empty where there is none.
function written(table, column, row) {
  const value = word(table.data[column.key], row);
  if (column.kind === "of") {
    const all = word(table.data[column.of], row);
    return [all === 0 ? DASH : `${value}/${all}`, ""];
  }
  if (column.kind === "spark") return [blocks(value, column.most), ""];
  if (table.data[column.key].codes) return [value, ""];
  if (value === null) return [(column.word && word(table.data[column.word], row)) || DASH, ""];
  const write = WRITE[column.kind] ?? number;
  const [low, high] = [column.low, column.high].map((name) => (name ? word(table.data[name], row) : null));
  return [write(value), low === null || high === null ? "" : `${write(low)} to ${write(high)}`];
}

function isBest(table, column, row) {
  return Boolean(column.best && table.data[column.best].values[row]);
}

function plain(table, column, row) {
  const [value, ends] = written(table, column, row);
  return ends ? `${value} (${ends})` : value;
}

function asHTML(table, column, row) {
  if (column.kind === "spark") return sparkline(word(table.data[column.key], row), column.most);
  const [value, ends] = written(table, column, row);
  const body = `<bdi>${escapeHTML(value)}</bdi>${ends ? ` <small>${escapeHTML(ends)}</small>` : ""}`;
  return isBest(table, column, row) ? `<b>${body}</b>` : body;
}

function markdown(table, rows) {
  const line = (cells) => `| ${cells.join(" | ")} |\n`;
  const bold = (text, best) => (best ? `**${text}**` : text);
  const body = rows.map((row) =>
    line(table.columns.map((column) => bold(escapeMarkdown(plain(table, column, row)), isBest(table, column, row)))));
  const rule = table.columns.map((column) => (isNumeric(column) ? "---:" : "---"));
  return line(table.columns.map((column) => escapeMarkdown(column.title))) + line(rule) + body.join("");
}

function latex(table, rows) {
  const line = (cells) => `${cells.join(" & ")} \\\\\n`;
  const bold = (text, best) => (best ? `\\textbf{${text}}` : text);
  const body = rows.map((row) =>
    line(table.columns.map((column) => bold(escapeLaTeX(plain(table, column, row)), isBest(table, column, row)))));
  const places = table.columns.map((column) => (isNumeric(column) ? "r" : "l")).join("");
  const head = line(table.columns.map((column) => escapeLaTeX(column.title)));
  return `% needs the package booktabs\n\\begin{tabular}{${places}}\n\\toprule\n${head}\\midrule\n${body.join("")}\\bottomrule\n\\end{tabular}\n`;
}

function isNumeric(column) {
  return !["text", "long", "spark"].includes(column.kind);
}
