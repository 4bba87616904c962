// What the theme leaves out: the search has a name, and wide tables, which scroll by themselves, do so by keyboard.
document$.subscribe(() => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search")
  for (const each of document.querySelectorAll(".md-typeset__scrollwrap")) each.tabIndex = 0
})
