document.querySelectorAll("table.sortable").forEach(function (table) {
  table.querySelectorAll("thead th").forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.title = "sort by this column";
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var down = head.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("thead th").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      var body = table.tBodies[0];
      var key = function (row) {
        var cell = row.cells[column];
        return cell.dataset.order || cell.textContent.trim();
      };
      Array.from(body.rows).sort(function (one, other) {
        var order = key(one).localeCompare(key(other), undefined, { numeric: true });
        var a = parseFloat(key(one)), b = parseFloat(key(other));
        if (!isNaN(a) && !isNaN(b)) { order = a - b; }
        return down ? -order : order;
      }).forEach(function (row) { body.appendChild(row); });
    });
  });
});
