// Before the first paint: the theme that was chosen, where it is not the system's.
try {
  var chosen = localStorage.getItem("simyard.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch (_) {
  // No storage: the system's.
}
