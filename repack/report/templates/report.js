"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const table = $("packages"), body = table.tBodies[0], rows = [...body.rows];
  const search = $("search"), platform = $("platform"), only = $("only"), count = $("count");
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const fits = words.every((word) => texts.get(row).includes(word))
        && (!platform.value || row.dataset.on.split(" ").includes(platform.value))
        && (!only.value || row.dataset.is.split(" ").includes(only.value));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} packages shown`;
  }

  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  function value(row, column) {
    const cell = row.cells[column];
    return cell.dataset.v ?? cell.textContent.trim();
  }
  function sort(head) {
    const column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keys = new Map(rows.map((row) => [row, value(row, column)]));
    rows.sort((a, b) => (down ? -1 : 1) * order.compare(keys.get(a), keys.get(b)));
    body.append(...rows);
  }

  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(head));
    head.append(button);
  }
  for (const control of [search, platform, only]) control.addEventListener("input", filter);
  $("reset").addEventListener("click", () => {
    search.value = platform.value = only.value = "";
    filter();
    search.focus();
  });

  // A link to a row finds it even when a filter hides it.
  function reveal() {
    const row = $(decodeURIComponent(location.hash.slice(1)));
    if (row && row.hidden) {
      search.value = platform.value = only.value = "";
      filter();
      row.scrollIntoView({ block: "center" });
    }
  }
  addEventListener("hashchange", reveal);

  function copy(button, pre) {
    const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
    const select = () => {
      getSelection().selectAllChildren(pre);
      if (document.execCommand("copy")) done();
    };
    if (navigator.clipboard) navigator.clipboard.writeText(pre.textContent).then(done, select);
    else select();
  }
  for (const pre of document.querySelectorAll(".command pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "plain";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy: ${pre.textContent}`);
    button.addEventListener("click", () => copy(button, pre));
    pre.after(button);
  }

  // What is folded away is printed too.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of folded) one.open = false; });

  $("tools").hidden = false;
  filter();
})();
