// Before anything is painted: the chosen theme, and that there is a script at all.
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("iclgd-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* pages from the disk may have no storage */ }
