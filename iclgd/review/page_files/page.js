"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };

  // Light and dark: all colours are CSS, so nothing is drawn again.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const themeButton = document.getElementById("theme");
  const nameTheme = () => { themeButton.textContent = isDark() ? "Light" : "Dark"; };
  themeButton.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try { localStorage.setItem("iclgd-theme", theme); } catch { /* the page itself still has it */ }
    nameTheme();
  });
  dark.addEventListener("change", nameTheme);
  nameTheme();

  // Figures.
  const config = JSON.parse(document.getElementById("vega-config").textContent);
  const figures = new Map();
  const dataOf = (figure) => {
    if (!figures.has(figure)) {
      figures.set(figure, {
        panels: JSON.parse(figure.querySelector("script.data").textContent), views: [], hidden: new Set(),
      });
    }
    return figures.get(figure);
  };
  const number = (value) => Number(value.toPrecision(4)).toString();
  const rowsOf = {
    plot: (panel) => {
      let count = 0;
      return panel.series.flatMap((series) => series.y.map((y, index) => {
        const row = { s: series.s, l: series.l, x: series.x[index], y, h: count++ % panel.stride === 0 };
        const [low, high] = [series.low?.[index] ?? null, series.high?.[index] ?? null];
        if (low !== null && high !== null) Object.assign(row, { low, high, i: `${number(low)} to ${number(high)}` });
        return row;
      })).filter((row) => row.x !== null);
    },
    heat: (panel) => panel.values.flatMap((values, r) => values.map((v, c) => (
      { r, c, v, rn: panel.rows[r] ?? "", cn: panel.names[c] ?? "" }))),
    parallel: (panel) => panel.places.flatMap((places, i) => {
      const a = panel.texts[i].map((text, k) => `${panel.columns[k + 1]}: ${text || "none"}`).join(", ");
      return places.map((p, k) => ({ i, k, p, m: panel.metric[i], a }));
    }),
  };
  const draw = (figure) => {
    const state = dataOf(figure);
    if (state.drawn) return state.drawn;
    state.drawn = Promise.all(all(".plot", figure).map(async (place) => {
      const panel = state.panels[Number(place.dataset.panel)];
      const spec = { ...panel.spec, data: { name: "rows", values: rowsOf[panel.kind](panel) } };
      const result = await vegaEmbed(place, spec, {
        mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, config,
        tooltip: { disableDefaultStyle: true, theme: "page" },
      });
      state.views.push(result.view);
      if (state.hidden.size) hide(state);
      if (panel.zoom) addZoom(place, result.view);
      place.querySelector("svg").setAttribute("aria-hidden", "true"); // the figure's text says it better than its paths
      place.dataset.drawn = "yes";
    }));
    return state.drawn;
  };
  const hide = (state) => Promise.all(
    state.views.map((view) => view.signal("hidden", [...state.hidden]).runAsync()));

  const addZoom = (place, view) => {
    const tools = place.parentElement.querySelector(".panel-tools");
    const whole = { x: view.scale("x").domain(), y: view.scale("y").domain() };
    const isLog = { x: view.scale("x").type === "log", y: view.scale("y").type === "log" };
    const of = place.getAttribute("aria-label");
    const add = (text, name, change) => {
      const button = make("button", { type: "button", "aria-label": `${name}: ${of}`, title: name }, text);
      button.addEventListener("click", () => change());
      tools.append(button);
      return button;
    };
    const names = { x: "zoom_x", y: "zoom_y" };
    const by = (factor) => {
      for (const side of ["x", "y"]) {
        const [to, from] = isLog[side] ? [Math.log, Math.exp] : [(v) => v, (v) => v];
        const [low, high] = view.scale(side).domain().map(to);
        const [middle, half] = [(low + high) / 2, ((high - low) / 2) * factor];
        view.signal(names[side], [from(middle - half), from(middle + half)]);
      }
      view.runAsync();
    };
    add("+", "Zoom in", () => by(1 / 1.5));
    add("−", "Zoom out", () => by(1.5));
    const reset = add("Reset", "Reset zoom", () => {
      for (const side of ["x", "y"]) view.signal(names[side], null);
      view.runAsync();
    });
    reset.disabled = true;
    const check = () => {
      const same = ["x", "y"].every((side) => view.scale(side).domain().every((v, i) => v === whole[side][i]));
      reset.disabled = same;
    };
    for (const side of ["x", "y"]) view.addSignalListener(names[side], () => setTimeout(check));
  };

  const fillData = (details) => {
    const panels = dataOf(details.closest("figure")).panels;
    for (const panel of panels) {
      const rows = {
        plot: () => rowsOf.plot(panel).map((row) => [row.l, row.x, row.y, row.low, row.high]),
        heat: () => rowsOf.heat(panel).map((row) => [row.rn, row.cn, row.v]),
        parallel: () => panel.texts.map((texts, index) => [index + 1, ...texts]),
      }[panel.kind]();
      const most = 2000;
      const scroll = make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Data: ${panel.title || "figure"}` });
      const table = make("table");
      const head = table.createTHead().insertRow();
      for (const name of panel.columns) head.append(make("th", { scope: "col" }, name));
      const body = table.createTBody();
      for (const row of rows.slice(0, most)) {
        const line = body.insertRow();
        panel.columns.forEach((_, index) => {
          const value = row[index] ?? "";
          line.append(make("td", typeof value === "number" ? { class: "n" } : {}, String(value)));
        });
      }
      scroll.append(table);
      if (panel.title) details.append(make("p", { class: "note" }, panel.title));
      details.append(scroll);
      if (rows.length > most) details.append(make("p", { class: "note" }, `${rows.length - most} more rows are not shown.`));
    }
  };

  const nearby = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      nearby.unobserve(entry.target);
      draw(entry.target);
    }
  }, { rootMargin: "600px 0px" });
  for (const figure of all("figure")) {
    nearby.observe(figure);
    for (const button of all(".legend button", figure)) {
      button.addEventListener("click", () => {
        const state = dataOf(figure);
        const place = Number(button.dataset.series);
        const show = state.hidden.delete(place);
        if (!show) state.hidden.add(place);
        button.setAttribute("aria-pressed", String(show));
        hide(state);
      });
    }
    const details = figure.querySelector("details");
    details?.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) fillData(details);
    });
  }

  // Paper shows everything, whatever has been scrolled to.
  let opened = [];
  addEventListener("beforeprint", () => {
    for (const figure of all("figure")) draw(figure);
    opened = all("details.printed:not([open])");
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => { for (const details of opened) details.open = false; });

  // Tables: numbers, then texts, then NaN, then nothing, in either direction.
  const key = (cell) => {
    const text = cell.textContent.trim();
    const value = cell.classList.contains("n") ? Number(cell.dataset.v ?? text) : NaN;
    if (text === "") return [3, 0, ""];
    if (cell.classList.contains("n")) return Number.isNaN(value) ? [2, 0, ""] : [0, value, ""];
    return [1, 0, text];
  };
  const order = new Intl.Collator("en", { numeric: true });
  const sort = (header) => {
    const table = header.closest("table");
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of all("th[aria-sort]", table)) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const body = table.tBodies[0];
    const sign = descending ? -1 : 1;
    const rows = [...body.rows].map((row) => [key(row.cells[header.cellIndex]), row]);
    rows.sort(([a], [b]) => {
      if (a[0] !== b[0]) return a[0] - b[0];
      return sign * (a[0] === 1 ? order.compare(a[2], b[2]) : a[1] < b[1] ? -1 : Number(a[1] > b[1]));
    });
    body.append(...rows.map(([, row]) => row));
  };
  for (const button of all("thead button")) button.addEventListener("click", () => sort(button.closest("th")));

  // Filters: every word has to be somewhere in a row.
  const words = (input) => input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const filter = (input, items, what) => {
    const shown = input.parentElement.querySelector("output");
    input.addEventListener("input", () => {
      const wanted = words(input);
      let count = 0;
      for (const group of items) {
        const text = group[0].textContent.toLowerCase();
        const matches = wanted.every((word) => text.includes(word));
        for (const element of group) element.hidden = !matches;
        count += Number(matches);
      }
      shown.textContent = wanted.length ? `${count} of ${items.length} ${what}` : "";
    });
  };
  for (const input of all(".table input[type=search]")) {
    const rows = [...input.closest(".table").querySelector("tbody").rows];
    filter(input, rows.map((row) => [row]), "rows");
  }
  const contents = document.querySelector(".contents input[type=search]");
  if (contents) {
    filter(contents, all(".contents li").map((item) => [item, document.getElementById(item.dataset.section)]), "groups");
  }

  for (const button of all("button.copy")) {
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch { // no permission: the command is marked, to be copied by hand
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
})();
