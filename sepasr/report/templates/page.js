"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const one = (selector, root = document) => root.querySelector(selector);

// Tables: a heading sorts by its column, figures from the largest, text from A.
for (const table of all("main table")) {
  const body = one("tbody", table);
  all("thead th", table).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const figures = head.classList.contains("figure");
      const first = figures ? "descending" : "ascending";
      const second = figures ? "ascending" : "descending";
      const order = head.ariaSort === first ? second : first;
      all("thead th", table).forEach((other) => other.removeAttribute("aria-sort"));
      head.ariaSort = order;
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.order ?? row.cells[column].textContent;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (!figures) return sign * x.localeCompare(y);
        if (x === "" || y === "") return (x === "") - (y === ""); // what is missing comes last
        return sign * (Number(x) - Number(y));
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}

// Examples: what is shown, and in which order.
const form = one("#filter");
if (form) {
  const list = one("#list");
  const examples = all(".example", list);
  const control = list.dataset.control;
  const errors = new Map(examples.map((e) => [e, JSON.parse(e.dataset.errors)]));
  const words = new Map(examples.map((e) => {
    const texts = all(".text", e).map((text) => text.textContent);
    return [e, [e.dataset.mixture, ...texts].join(" ").toLowerCase()];
  }));
  const percent = (rate) => (rate === undefined ? "–" : `${Math.round(100 * rate)} %`);
  const apart = (rates, systems) => {
    const values = systems.map((name) => rates[name]).filter((rate) => rate !== undefined);
    return values.length ? Math.max(...values) - Math.min(...values) : 0;
  };

  const update = () => {
    const reader = one("#recogniser").value;
    const relation = one("#relation").value;
    const query = one("#query").value.trim().toLowerCase();
    const ticked = all("input[name=system]", form).filter((box) => box.checked);
    const shown = new Set(ticked.map((box) => box.value));
    const trained = ticked.filter((box) => "trained" in box.dataset).map((box) => box.value);
    const [by, system] = one("#sort").value.split(/:(.*)/s);
    const score = (example) => {
      const rates = errors.get(example)[reader] ?? {};
      const gain = (rates[control] ?? 0) - (rates[system] ?? 0);
      return { difference: apart(rates, trained), errors: rates[system] ?? 0, gain, loss: -gain }[by];
    };
    let count = 0;
    for (const example of examples) {
      const rates = errors.get(example)[reader] ?? {};
      example.hidden = !words.get(example).includes(query);
      count += !example.hidden;
      one(".difference", example).textContent = Math.round(100 * apart(rates, trained));
      for (const bar of all(".bars li", example)) {
        const rate = rates[bar.dataset.system];
        bar.hidden = !shown.has(bar.dataset.system);
        one("b", bar).textContent = percent(rate);
        one("i", bar).style.setProperty("--rate", rate ?? 0);
      }
      for (const heard of all(".heard", example)) {
        const { recogniser, relation: its } = heard.dataset;
        heard.hidden = (reader && recogniser !== reader) || (relation && its !== relation);
      }
      for (const part of all(".system", example)) {
        const read = all(".heard", part);
        const matches = !read.length || read.some((heard) => !heard.hidden);
        part.hidden = !shown.has(part.dataset.system) || !matches;
      }
    }
    const rank = (example) => Number(example.dataset.rank);
    examples.sort((a, b) => by === "id"
      ? a.dataset.mixture.localeCompare(b.dataset.mixture)
      : score(b) - score(a) || rank(a) - rank(b));
    list.append(...examples);
    one("#status").textContent = `${count} of ${examples.length} mixtures shown`;
  };

  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  const expand = one("#expand");
  expand.addEventListener("click", () => {
    const open = expand.textContent === "Open all";
    examples.forEach((example) => { example.open = open; });
    expand.textContent = open ? "Close all" : "Open all";
  });
  update(); // a browser may have kept what was chosen before a reload
}

// Players: one at a time, with a line in the spectrogram where it plays; a click there moves it.
let last = null;
for (const clip of all(".clip")) {
  const player = one("audio", clip);
  const picture = one(".spectrogram", clip);
  const show = () => {
    const place = player.duration ? player.currentTime / player.duration : 0;
    picture.style.setProperty("--place", `${100 * place}%`);
    if (!player.paused) requestAnimationFrame(show);
  };
  player.addEventListener("play", () => {
    if (last && last !== player) {
      const same = last.closest(".example") === player.closest(".example");
      last.pause();
      if (same && one("#same-place").checked && last.currentTime < (last.duration || 0)) {
        player.currentTime = last.currentTime;
      }
    }
    last = player;
    clip.classList.add("playing");
    show();
  });
  player.addEventListener("pause", () => clip.classList.remove("playing"));
  player.addEventListener("seeked", show);
  player.addEventListener("error", () => { clip.classList.add("broken"); });
  picture.addEventListener("click", (event) => {
    const share = event.offsetX / picture.clientWidth;
    const move = () => { player.currentTime = share * player.duration; };
    if (player.readyState) move();
    else player.addEventListener("loadedmetadata", move, { once: true });
    player.play();
  });
}
