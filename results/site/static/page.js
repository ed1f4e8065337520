// Start of the page, and its theme.

const THEMES = ["system", "light", "dark"];
const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = THEMES.includes(remembered("farreach-theme")) ? remembered("farreach-theme") : "system";

function applyTheme() {
  const now = theme === "system" ? (dark.matches ? "dark" : "light") : theme;
  document.documentElement.dataset.theme = now;
  document.documentElement.classList.toggle("dark", now === "dark"); // for the table library
  document.getElementById("theme").textContent = `Theme: ${theme}`;
  redraw();
}

document.getElementById("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  remember("farreach-theme", theme);
  applyTheme();
});
dark.addEventListener("change", applyTheme);
addEventListener("hashchange", () => { applyState(); openFromState(); });

applyTheme();
if (DATA.tables.length) {
  buildFilters();
  buildTabs();
}
buildPanel();
buildPictures();
applyState();
openFromState();
let fitted = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === fitted) return;
  fitted = innerWidth;
  for (const name of Object.keys(drawn)) fold(name);
});
document.documentElement.dataset.ready = "yes";
