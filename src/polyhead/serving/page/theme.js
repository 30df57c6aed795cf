// Before anything is drawn: the colours that were chosen here before, if any.
try {
  const chosen = localStorage.getItem("polyhead-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch { /* a browser that keeps nothing */ }
