"use strict";
// The page is complete without this script: unsorted tables are readable and show all their rows.

const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

// The colour scheme follows the system until the button is used.
const root = document.documentElement;
const theme = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
const nameTheme = () => {
  theme.textContent = isDark() ? "Light colours" : "Dark colours";
};
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  nameTheme();
});
system.addEventListener("change", nameTheme);
nameTheme();
theme.hidden = false;

// Sorting: each column heading becomes a button. Cells without a number come last in both directions.
const valueOf = (row, column) => {
  const cell = row.cells[column];
  if (!("sort" in cell.dataset)) return cell.textContent.trim();
  return cell.dataset.sort === "" ? null : Number(cell.dataset.sort);
};
const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b);
const sortRows = (table, column, direction) => {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, value: valueOf(row, column) }));
  rows.sort((a, b) => {
    if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
    return direction * compare(a.value, b.value);
  });
  body.append(...rows.map(({ row }) => row));
};
for (const table of document.querySelectorAll("table.sortable")) {
  const headings = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  headings.forEach((heading, column) => {
    const button = make("button", { type: "button" });
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const first = heading.dataset.first || "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const next = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", next);
      sortRows(table, column, next === "ascending" ? 1 : -1);
    });
  });
}

// Filters: by budget, and by a substring of the entry's name.
for (const filters of document.querySelectorAll(".filters")) {
  const table = document.getElementById(filters.dataset.for);
  const rows = Array.from(table.tBodies[0].rows);
  const choices = Array.from(filters.querySelectorAll("button"));
  const search = filters.querySelector("input");
  const shown = filters.querySelector("output");
  const apply = () => {
    const budget = choices.find((choice) => choice.getAttribute("aria-pressed") === "true").value;
    const wanted = search ? search.value.trim().toLowerCase() : "";
    let count = 0;
    for (const row of rows) {
      const named = row.cells[0].textContent.toLowerCase().includes(wanted);
      row.hidden = !(named && (budget === "" || row.dataset.budget === budget));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} rows`;
    table.classList.toggle("one-budget", budget !== "");
  };
  choices.forEach((choice) =>
    choice.addEventListener("click", () => {
      choices.forEach((other) => other.setAttribute("aria-pressed", String(other === choice)));
      apply();
    }),
  );
  if (search) search.addEventListener("input", apply);
  filters.hidden = false;
  apply();
}

// Alternative views of the same data: one at a time.
for (const tabs of document.querySelectorAll(".choice")) {
  const buttons = Array.from(tabs.querySelectorAll("button"));
  const choose = (chosen) =>
    buttons.forEach((button) => {
      button.setAttribute("aria-pressed", String(button === chosen));
      document.getElementById(button.value).classList.toggle("not-chosen", button !== chosen);
    });
  buttons.forEach((button) => button.addEventListener("click", () => choose(button)));
  tabs.hidden = false;
  choose(buttons[0]);
}

// Buttons that copy a command or a configuration.
for (const block of document.querySelectorAll("pre.copy")) {
  const button = make("button", { type: "button", className: "copy-button", textContent: "Copy" });
  button.setAttribute("aria-label", `Copy: ${block.getAttribute("aria-label")}`);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(block.textContent);
    } catch {
      getSelection().selectAllChildren(block);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  block.before(button);
}

// Open all details for printing.
addEventListener("beforeprint", () => {
  for (const closed of document.querySelectorAll("details:not([open])")) {
    closed.open = true;
    closed.dataset.opened = "";
  }
});
addEventListener("afterprint", () => {
  for (const opened of document.querySelectorAll("details[data-opened]")) {
    opened.open = false;
    delete opened.dataset.opened;
  }
});
