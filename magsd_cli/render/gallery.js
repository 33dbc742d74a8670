"use strict";
(() => {
  const form = document.getElementById("gallery-filters");
  const count = document.getElementById("gallery-count");
  const cases = [...document.getElementById("gallery-cases").children];
  const value = (name) => document.getElementById("gallery-" + name).value;
  const apply = () => {
    const words = value("search").toLowerCase().split(/\s+/).filter(Boolean);
    const least = Number(value("least")) || 0;
    const same = ["truth", "predicted", "right"].map((name) => [name, value(name)]).filter(([, v]) => v !== "");
    let seen = 0;
    for (const item of cases) {
      const name = item.dataset.name.toLowerCase();
      item.hidden = !(words.every((word) => name.includes(word)) &&
        same.every(([key, wanted]) => item.dataset[key] === wanted) &&
        Number(item.dataset.confidence) >= least);
      seen += item.hidden ? 0 : 1;
    }
    count.textContent = seen + " of " + cases.length + " shown cases match.";
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply, 0));
  apply();
})();
