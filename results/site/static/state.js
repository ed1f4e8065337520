// What the reader chose lives behind the # of the address, so that a view can be shared: tab, q, sort, row and filters.

const PLAIN = new Set(["answers", "tables", "pictures", "again"]);

function readState() {
  const text = location.hash.slice(1);
  return new URLSearchParams(PLAIN.has(text) ? "" : text);
}

function writeState(change) {
  const state = readState();
  change(state);
  const text = state.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

function setOne(name, value) {
  writeState((state) => (value ? state.set(name, value) : state.delete(name)));
}

// The browser may forbid storage to a page from the disk; the theme is then forgotten.
function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* forgotten */ }
}
