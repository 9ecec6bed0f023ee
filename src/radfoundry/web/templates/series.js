document.querySelectorAll(".series-list").forEach(function (list) {
  var cards = Array.from(list.querySelectorAll(".series-card"));
  var words = list.querySelector("input[type=search]");
  var verdict = list.querySelector("select[name=verdict]");
  var kind = list.querySelector("select[name=sequence]");
  var order = list.querySelector("select[name=order]");
  var shelf = list.querySelector(".series-cards");
  var count = list.querySelector(".series-count");
  var show = function () {
    var text = words.value.trim().toLowerCase(), left = 0;
    cards.forEach(function (card) {
      var fits = (!text || card.textContent.toLowerCase().indexOf(text) >= 0)
        && (!verdict.value || card.dataset.verdict === verdict.value)
        && (!kind.value || card.dataset.sequence === kind.value);
      card.hidden = !fits;
      left += fits ? 1 : 0;
    });
    count.textContent = left + " of " + cards.length + " series";
  };
  var sort = function () {
    var by = order.value;
    cards.slice().sort(function (one, other) {
      return one.dataset[by].localeCompare(other.dataset[by], undefined, { numeric: true });
    }).forEach(function (card) { shelf.appendChild(card); });
  };
  [words, verdict, kind].forEach(function (field) { field.addEventListener("input", show); });
  order.addEventListener("input", sort);
  var quoted = function (text) { return '"' + String(text).replace(/"/g, '""') + '"'; };
  var table = function () {
    var lines = ["series,sequence,use,use_reason"];
    cards.forEach(function (card) {
      var sequence = card.querySelector("select[name=correct]"), use = card.querySelector("select[name=use]");
      var changed = sequence.value !== sequence.dataset.was || use.value !== use.dataset.was;
      card.classList.toggle("changed", changed);
      if (changed) {
        var reason = use.value === use.dataset.was ? "" : "by a person";
        lines.push([card.dataset.key, sequence.value === sequence.dataset.was ? "" : sequence.value,
          use.value === use.dataset.was ? "" : use.value, reason].map(quoted).join(","));
      }
    });
    list.querySelector(".corrections").hidden = lines.length === 1;
    list.querySelector(".corrections-count").textContent = lines.length - 1;
    return lines.join("\n") + "\n";
  };
  list.addEventListener("change", table);
  list.querySelector("button[name=save]").addEventListener("click", function () {
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([table()], { type: "text/csv" }));
    link.download = "corrections.csv";
    link.click();
  });
  show();
});
