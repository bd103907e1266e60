// Tables whose heads are pressed to sort them; the order survives a refresh.

let order = null;

export function sorting() {
  head();
  new MutationObserver(head).observe(document.body, { childList: true, subtree: true });
}

function head() {
  for (const table of document.querySelectorAll("table.sortable:not([data-heads])")) {
    table.dataset.heads = "";
    [...table.tHead.rows[0].cells].forEach((cell, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.id = `sort-${index}`;
      button.append(...cell.childNodes);
      button.addEventListener("click", () => {
        order = { index, up: !(order?.index === index && order.up) };
        sort(table);
      });
      cell.append(button);
    });
    if (order) sort(table);
  }
}

function sort(table) {
  const { index, up } = order;
  const value = (row) => {
    const cell = row.cells[index];
    return cell?.dataset.value ?? cell?.querySelector("select, input")?.value ?? cell?.textContent.trim() ?? "";
  };
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return up ? order : -order;
  });
  table.tBodies[0].append(...rows);
  [...table.tHead.rows[0].cells].forEach((cell, at) => {
    if (at === index) cell.setAttribute("aria-sort", up ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  });
}
