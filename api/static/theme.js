// Before anything is drawn, so that a chosen theme does not flash the other one; hence no module.
(() => {
  try {
    const chosen = localStorage.getItem("tidegate-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // storage is closed to this page: the system's theme it is
  }
})();
