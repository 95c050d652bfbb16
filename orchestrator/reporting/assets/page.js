// Draws the figures, and makes them answer: hover, legends, axes, copying, downloads, keys, light and dark.
(() => {
  "use strict";
  const settings = JSON.parse(document.getElementById("settings").textContent);
  const root = document.documentElement;
  const specs = new Map();  // figure → its specification, as drawn now

  // ---- drawing

  const options = (config, more) => ({ mode: "vega-lite", renderer: "svg", actions: false, ast: true, config, ...more });

  async function draw(figure, linear = false) {
    const place = figure.querySelector(".chart");
    const spec = JSON.parse(await unzipped(figure.querySelector(".spec")), (key, value) =>
      linear && key === "type" && value === "log" ? "linear" : value);
    for (const [name, data] of Object.entries(spec.datasets)) spec.datasets[name] = unpacked(data);
    specs.set(figure, spec);
    const tooltip = { disableDefaultStyle: true, theme: "apet", formatTooltip };
    const { view } = await vegaEmbed(place, spec, options(settings.page, { tooltip }));
    const picture = place.querySelector("svg");
    picture.setAttribute("aria-hidden", "true");
    view.addEventListener("click", (_, item) => item?.datum?.trial && copy(item.datum.trial));
    for (const entry of place.querySelectorAll(".role-legend-label text")) {
      entry.setAttribute("tabindex", "0");
      entry.setAttribute("role", "button");
      entry.setAttribute("aria-label", `show only ${entry.textContent}`);
    }
    if (entries(place).length) picture.removeAttribute("aria-hidden");
  }

  // What is known of a mark, by name; a field that isn't there comes as one of these words.
  const known = (tooltip) => Object.entries(tooltip ?? {})
    .filter(([, value]) => !["", "undefined", "null", "NaN"].includes(String(value)));

  function formatTooltip(value, escaped) {
    if (typeof value !== "object") return escaped(String(value));
    const line = ([name, said]) => `<tr><td class="key">${escaped(name)}</td><td>${escaped(String(said))}</td></tr>`;
    return `<table><tbody>${known(value).map(line).join("")}</tbody></table>`;
  }

  async function unzipped(element) {
    const bytes = Uint8Array.from(atob(element.textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  function unpacked({ rows, columns }) {
    const data = Array.from({ length: rows }, () => ({}));
    for (const [name, column] of Object.entries(columns)) {
      const values = Array.isArray(column) ? column : column.at.map((i) => column.of[i]);
      values.forEach((value, i) => { if (value !== null) data[i][name] = value; });
    }
    return data;
  }

  const entries = (place) => place.querySelectorAll(".role-legend-label text");

  async function drawAll() {
    const figures = [...document.querySelectorAll("figure")].filter((f) => f.querySelector(".spec"));
    figures.sort((a, b) => a.classList.contains("away") - b.classList.contains("away"));
    for (const figure of figures) {
      if (!specs.has(figure)) await draw(figure);
      tools(figure);
      await new Promise((next) => setTimeout(next));  // the page answers in between
    }
    root.dataset.drawn = "all";
  }

  function tools(figure) {
    if (!JSON.stringify(specs.get(figure), (key, value) => key === "datasets" ? null : value).includes('"type":"log"')) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "scale";
    button.textContent = "linear axis";
    button.addEventListener("click", () => {
      const linear = button.textContent === "linear axis";
      button.textContent = linear ? "log axis" : "linear axis";
      draw(figure, linear);
    });
    figure.querySelector(".files").prepend(button, " ");
  }

  // ---- copying the command that shows a trial

  async function copy(trial) {
    if (!/^\w+$/.test(trial)) return;  // no id of ours: a command from it might do anything
    const command = `apet show ${trial} --store ${settings.store}`;
    try {
      await navigator.clipboard.writeText(command);
    } catch {
      const area = document.createElement("textarea");
      area.value = command;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    say(`Copied: ${command}`);
  }

  let silence;
  function say(text) {
    const place = document.getElementById("said");
    place.textContent = text;
    clearTimeout(silence);
    silence = setTimeout(() => { place.textContent = ""; }, 4000);
  }

  // ---- keys: from run to run, and legends

  function walk(place, event) {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const runs = [...place.querySelectorAll("path")].filter((one) => one.__data__?.datum?.trial);
    if (!runs.length) return;
    const at = runs.findIndex((one) => one.classList.contains("current"));
    if (event.key in steps) {
      event.preventDefault();
      runs[at]?.classList.remove("current");
      const next = at < 0 ? 0 : (at + steps[event.key] + runs.length) % runs.length;
      runs[next].classList.add("current");
      const said = known(runs[next].__data__.tooltip).map(([name, value]) => `${name} ${value}`);
      place.parentElement.querySelector(".readout").textContent = `Run ${next + 1} of ${runs.length}: ${said.join(", ")}`;
    } else if (event.key === "Enter" && at >= 0) {
      copy(runs[at].__data__.datum.trial);
    }
  }

  document.addEventListener("keydown", (event) => {
    if (event.target.matches?.(".role-legend-label text")) {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      event.target.dispatchEvent(new MouseEvent("click", { bubbles: true, shiftKey: event.shiftKey }));
    } else if (event.target.matches?.(".chart")) {
      walk(event.target, event);
    }
  });

  // ---- downloads: made here, so that a page that lies alone has them too

  const picture = async (figure, kind) => {
    const place = document.createElement("div");
    const spec = { ...specs.get(figure), background: settings.ground };
    const { view } = await vegaEmbed(place, spec, options(settings.file));
    const url = await view.toImageURL(kind, kind === "png" ? settings.scale : 1);
    view.finalize();
    return url;
  };

  const numbers = async (figure) =>
    URL.createObjectURL(new Blob([await unzipped(figure.querySelector(".csv"))], { type: "text/csv" }));

  document.addEventListener("click", async (event) => {
    const trial = event.target.closest?.("[data-trial]");
    if (trial) copy(trial.dataset.trial);
    const link = event.target.closest?.("a[download]");
    if (!link || link.href.startsWith("blob:")) return;
    event.preventDefault();
    const figure = link.closest("figure"), kind = link.download.split(".").pop();
    const made = document.createElement("a");
    made.download = link.download;
    made.href = kind === "csv" ? await numbers(figure) : await picture(figure, kind);
    made.dispatchEvent(new MouseEvent("click"));
  });

  // ---- choices, what is folded, light and dark, reloading

  for (const select of document.querySelectorAll(".chooser select")) {
    select.addEventListener("change", () => {
      const known = new Set([...select.options].map((option) => option.value));
      for (const figure of select.closest("section").querySelectorAll("figure[data-choice]")) {
        if (!known.has(figure.dataset.choice)) continue;
        const shown = figure.dataset.choice === select.value;
        figure.classList.toggle("away", !shown);
        if (shown && figure.querySelector(".spec") && !specs.has(figure)) draw(figure);
      }
    });
  }

  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });

  const theme = document.getElementById("theme");
  const named = () => { theme.textContent = root.dataset.theme === "dark" ? "Light" : "Dark"; };
  theme.hidden = false;
  named();
  theme.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("apet-theme", root.dataset.theme); } catch { /* chosen for this time only */ }
    named();
  });

  const again = document.getElementById("reload");
  if (again) {
    const kept = (value) => { try { return value === undefined ? sessionStorage.getItem("apet-reload") : sessionStorage.setItem("apet-reload", value); } catch { return null; } };
    again.checked = kept() === "yes";
    again.addEventListener("change", () => kept(again.checked ? "yes" : "no"));
    setInterval(() => again.checked && location.reload(), 30000);
  }

  drawAll();
})();
