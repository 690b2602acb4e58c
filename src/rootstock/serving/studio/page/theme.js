// Before anything is drawn: the scheme that was chosen here before. Without one the system's holds.
(() => {
  "use strict";
  let chosen = null;
  try { chosen = localStorage.getItem("rootstock-theme"); } catch { /* storage may be closed */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
