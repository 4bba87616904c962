// What scrolls by itself can be reached by keyboard: the theme wraps wide tables when the page is there.
document$.subscribe(() => {
  for (const each of document.querySelectorAll(".md-typeset__scrollwrap")) each.tabIndex = 0
})
