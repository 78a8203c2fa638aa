"use strict";
// One card a row. The tokens of a row are drawn when it comes near and taken away when it has gone,
// so that thousands of rows cost no more than the few that are seen. Text of the user's is only ever
// put into text nodes.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const rows = data.rows;
  const KINDS = { c: "control", x: "context", t: "trained", s: "trained" };
  const TAGS = { control: "code", context: "span", trained: "mark", cut: "del" };
  const ORDER = ["control", "context", "trained", "cut"];
  const $ = (id) => document.getElementById(id);
  const feed = $("rows");
  const number = new Intl.NumberFormat("en");
  let here = -1; // the row that the keys move
  let token = -1; // the token of it that the arrows move
  let query = "";
  let shown = [];

  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const kindOf = (letter) => (letter < "a" ? "cut" : KINDS[letter]);
  const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;
  const code = (character) => `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

  // ---- what is known of each text: its whole string, where tokens begin, how many of each class

  const textOf = (text) => {
    if (text.whole === undefined) {
      text.odd = new Set(text.hidden);
      text.whole = text.tokens.join("");
      let at = 0;
      text.starts = text.tokens.map((piece) => (at += piece.length) - piece.length);
    }
    return text.whole;
  };
  const total = { control: 0, context: 0, trained: 0, cut: 0 };
  for (const row of rows) {
    row.counts = { control: 0, context: 0, trained: 0, cut: 0 };
    for (const text of row.texts) {
      text.counts = { control: 0, context: 0, trained: 0, cut: 0 };
      for (const letter of text.classes) text.counts[kindOf(letter)]++;
      for (const kind of ORDER) row.counts[kind] += text.counts[kind];
    }
    for (const kind of ORDER) total[kind] += row.counts[kind];
  }

  // ---- one row

  // a token's text in parts; what nobody would see stands alone in a list
  const visible = (text, i) => {
    const piece = text.tokens[i];
    const start = text.starts[i];
    if (!text.odd.size) return [piece];
    const parts = [];
    let plain = "";
    let at = start;
    for (const character of piece) {
      if (text.odd.has(at)) {
        if (plain) parts.push(plain);
        plain = "";
        parts.push([character]);
      } else plain += character;
      at += character.length;
    }
    if (plain) parts.push(plain);
    return parts;
  };
  const put = (element, parts) => {
    for (const part of parts) {
      if (typeof part === "string") {
        part.split(/(\n)/).forEach((piece) => {
          if (piece === "\n") {
            const sign = make("span", "nl", "↵");
            sign.setAttribute("aria-hidden", "true");
            element.append(sign, "\n");
          } else if (piece) element.append(piece);
        });
      } else {
        element.append(make("span", "odd", code(part[0])));
      }
    }
    return element;
  };
  const quoted = (text, i) => {
    const spelled = (part) =>
      typeof part === "string" ? part.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣") : `⟨${code(part[0])}⟩`;
    return visible(text, i).map(spelled).join("").slice(0, 200);
  };

  const hits = (text) => {
    const found = new Set();
    if (!query) return found;
    if (/^\d+$/.test(query)) text.ids.forEach((id, i) => String(id) === query && found.add(i));
    const whole = textOf(text).toLowerCase();
    if (whole.length !== text.whole.length) return found; // a letter whose small form is longer
    let at = whole.indexOf(query);
    let i = 0;
    while (at >= 0) {
      const end = at + query.length;
      while (i < text.starts.length && text.starts[i] + text.tokens[i].length <= at) i++;
      for (let k = i; k < text.starts.length && text.starts[k] < end; k++) found.add(k);
      at = whole.indexOf(query, end);
    }
    return found;
  };

  const drawText = (row, which) => {
    const text = row.texts[which];
    textOf(text);
    const box = make("div", "text");
    box.dataset.text = which;
    box.dir = "auto";
    const marked = hits(text);
    let run = null;
    let kind = "";
    text.tokens.forEach((piece, i) => {
      const letter = text.classes[i];
      if (kindOf(letter) !== kind) {
        kind = kindOf(letter);
        run = box.appendChild(make(TAGS[kind], `run ${kind}`));
      }
      const own = letter === "s" ? " own" : "";
      const span = make("span", `tok${own}${marked.has(i) ? " hit" : ""}`);
      span.dataset.i = i;
      if (piece) put(span, visible(text, i));
      else span.append(make("span", "part", "·"));
      run.append(span);
    });
    return box;
  };

  const draw = (row) => {
    if (row.drawn) return;
    row.drawn = true;
    row.body.replaceChildren();
    row.body.style.minHeight = "";
    row.texts.forEach((text, which) => {
      if (row.texts.length > 1) {
        const told = `text ${which + 1} of ${row.texts.length}: ${counts(text.counts)}`;
        row.body.append(make("p", "which", told));
      }
      for (const note of text.notes) row.body.append(make("p", "note", note));
      row.body.append(drawText(row, which));
    });
    if (row.raw) row.body.append(make("pre", "text raw", row.raw));
  };
  const wipe = (row) => {
    if (!row.drawn || row.index === here) return;
    row.body.style.minHeight = `${row.body.offsetHeight}px`;
    row.body.replaceChildren();
    row.drawn = false;
  };
  const redraw = (row) => {
    row.drawn = false;
    draw(row);
  };

  const counts = (of) => {
    const cut = of.cut ? ` · ${number.format(of.cut)} cut` : "";
    const kept = of.control + of.context + of.trained;
    if (!kept) return `${plural(of.cut, "token")}, all cut`;
    return `${plural(kept, "token")} · ${number.format(of.trained)} trained${cut}`;
  };
  const skipNote = (skip) => {
    const note = make("div", "note");
    note.append(make("strong", "", `skipped: ${skip.reason}`));
    const list = note.appendChild(make("dl"));
    for (const [key, value] of [["where", skip.place], ["got", skip.got], ["need", skip.need], ["try", skip.hint]]) {
      if (!value) continue;
      list.append(make("dt", "", key), make("dd", "", value));
    }
    return note;
  };
  const card = (row, index) => {
    const article = make("article");
    article.id = `row-${index + 1}`;
    article.tabIndex = -1;
    article.setAttribute("aria-labelledby", `head-${index + 1}`);
    const head = article.appendChild(make("div", "head"));
    const title = head.appendChild(make("h2"));
    title.id = `head-${index + 1}`;
    const link = title.appendChild(make("a"));
    link.href = `#row-${index + 1}`;
    link.title = row.file;
    link.textContent = `${row.file.split(/[\\/]/).pop()}:${row.line}`;
    const more = [`row ${number.format(row.row)}`, row.dataset];
    if (row.held_out) more.push("held out");
    head.append(make("span", "quiet", more.join(" · ")));
    if (row.texts.length) head.append(make("span", "counts", counts(row.counts)));
    const shares = article.appendChild(make("div", "shares"));
    shares.setAttribute("aria-hidden", "true");
    shares.hidden = !row.texts.length;
    for (const kind of ORDER) {
      if (!row.counts[kind]) continue;
      const share = shares.appendChild(make("i", kind));
      share.style.flex = `${row.counts[kind]} 0 0`;
    }
    if (row.skip) article.append(skipNote(row.skip));
    row.body = article.appendChild(make("div", "body"));
    row.article = article;
    row.index = index;
    row.drawn = false;
    return article;
  };
  const guess = (row, columns) => {
    let lines = 0;
    for (const text of row.texts) {
      for (const line of textOf(text).split("\n")) lines += Math.max(1, Math.ceil(line.length / columns));
    }
    row.body.style.minHeight = `${lines * 23.6}px`;
  };

  // ---- all rows

  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const row = rows[Number(entry.target.id.slice(4)) - 1];
        if (entry.isIntersecting) draw(row);
        else wipe(row);
      }
    },
    { rootMargin: "1500px 0px" },
  );
  const columns = Math.max(30, Math.floor(Math.min(window.innerWidth, 960) / 8.4));
  rows.forEach((row, index) => {
    feed.append(card(row, index));
    guess(row, columns);
    near.observe(row.article);
  });

  const matches = (row) => {
    if (!query) return true;
    if (row.found === undefined) {
      const words = [`${row.file}:${row.line}`, row.dataset, row.raw, ...row.texts.map(textOf)];
      if (row.skip) words.push(row.skip.reason, row.skip.place, row.skip.got, row.skip.need);
      row.found = words.filter(Boolean).join("\n").toLowerCase();
    }
    if (row.found.includes(query)) return true;
    return /^\d+$/.test(query) && row.texts.some((text) => text.ids.includes(Number(query)));
  };
  const WHICH = {
    all: () => true,
    used: (row) => !row.skip,
    skipped: (row) => Boolean(row.skip),
    cut: (row) => row.counts.cut > 0,
  };
  const filter = () => {
    const wanted = WHICH[$("which").value];
    shown = rows.filter((row) => wanted(row) && matches(row));
    const kept = new Set(shown);
    rows.forEach((row) => {
      row.article.hidden = !kept.has(row);
      if (row.drawn && !row.article.hidden) redraw(row);
    });
    shown.forEach((row, place) => {
      row.article.setAttribute("aria-posinset", place + 1);
      row.article.setAttribute("aria-setsize", shown.length);
    });
    $("nothing").hidden = shown.length > 0;
    $("status").textContent =
      shown.length === rows.length ? plural(rows.length, "row") : `${number.format(shown.length)} of ${plural(rows.length, "row")}`;
    if (here >= 0 && rows[here].article.hidden) leave();
  };

  // ---- moving

  const leave = () => {
    if (here < 0) return;
    rows[here].article.classList.remove("here");
    rows[here].article.tabIndex = -1;
    unpoint();
    here = -1;
  };
  const go = (row, { focus = true } = {}) => {
    if (!row) return;
    leave();
    here = row.index;
    draw(row);
    row.article.classList.add("here");
    row.article.tabIndex = 0;
    if (focus) row.article.focus({ preventScroll: true });
    row.article.scrollIntoView({ block: "start" });
  };
  const step = (by) => {
    const now = shown.findIndex((row) => row.index === here);
    if (now >= 0) return go(shown[Math.min(shown.length - 1, Math.max(0, now + by))]);
    const top = $("bar").getBoundingClientRect().bottom;
    const first = shown.findIndex((row) => row.article.getBoundingClientRect().bottom > top + 40);
    go(shown[by > 0 ? Math.max(0, first) : Math.max(0, first - 1)]);
  };

  // ---- one token

  const tokens = (row) => Array.from(row.body.querySelectorAll(".tok"));
  const unpoint = () => {
    token = -1;
    $("tip").hidden = true;
    document.querySelectorAll(".tok.at").forEach((one) => one.classList.remove("at"));
  };
  const facts = (span) => {
    const row = rows[Number(span.closest("article").id.slice(4)) - 1];
    const text = row.texts[Number(span.closest(".text").dataset.text)];
    const i = Number(span.dataset.i);
    const letter = text.classes[i];
    let position = 0;
    for (let k = 0; k < i; k++) if (text.classes[k] >= "a") position++;
    const own = letter.toLowerCase() === "c" || letter.toLowerCase() === "s";
    const kind = kindOf(letter);
    const would = kind === "cut" && KINDS[letter.toLowerCase()] === "trained" ? ", would be trained" : "";
    const whole = text.tokens[i] ? quoted(text, i) : "more bytes of the character before";
    return {
      name: whole,
      told: `id ${text.ids[i]} · ${kind === "cut" ? "no position" : `position ${position}`} · ${kind}${would}${own && kind !== "control" ? " · written by the template" : ""}`,
    };
  };
  const tip = (span) => {
    const { name, told } = facts(span);
    const box = $("tip");
    box.replaceChildren(make("b", "", name), make("br"), told);
    box.hidden = false;
    const at = span.getClientRects()[0] || span.getBoundingClientRect();
    const size = box.getBoundingClientRect();
    const below = at.bottom + 6 + size.height < window.innerHeight;
    box.style.top = `${below ? at.bottom + 6 : at.top - 6 - size.height}px`;
    box.style.left = `${Math.max(8, Math.min(at.left, window.innerWidth - size.width - 8))}px`;
    return `${name}, ${told}`;
  };
  const point = (by) => {
    if (here < 0) step(1);
    if (here < 0) return;
    const all = tokens(rows[here]);
    if (!all.length) return;
    const next = Math.min(all.length - 1, Math.max(0, token + by));
    unpoint();
    token = next;
    all[token].classList.add("at");
    all[token].scrollIntoView({ block: "nearest" });
    $("said").textContent = tip(all[token]);
  };
  feed.addEventListener("pointerover", (event) => {
    const span = event.target.closest(".tok");
    if (span) tip(span);
    else if (token < 0) $("tip").hidden = true;
  });
  feed.addEventListener("pointerleave", () => token < 0 && ($("tip").hidden = true));
  feed.addEventListener("click", (event) => {
    const article = event.target.closest("article");
    if (!article || event.target.closest("a") || String(getSelection())) return;
    const row = rows[Number(article.id.slice(4)) - 1];
    leave();
    here = row.index;
    article.classList.add("here");
    article.tabIndex = 0;
    article.focus({ preventScroll: true });
    const span = event.target.closest(".tok");
    if (span) token = tokens(row).indexOf(span);
  });
  window.addEventListener("scroll", () => token < 0 && ($("tip").hidden = true), { passive: true });

  // ---- the bar

  const fold = (kind) => {
    const button = document.querySelector(`[data-class="${kind}"]`);
    const folded = feed.classList.toggle(`fold-${kind}`);
    button.setAttribute("aria-pressed", String(!folded));
  };
  document.querySelectorAll("[data-class]").forEach((button) => {
    button.querySelector("b").textContent = number.format(total[button.dataset.class]);
    button.addEventListener("click", () => fold(button.dataset.class));
  });
  const THEMES = { auto: ["◐", "as the system"], light: ["○", "light"], dark: ["●", "dark"] };
  const stored = () => {
    try {
      return localStorage.getItem("tunesmith-theme");
    } catch {
      return null; // a page from disk may have no storage
    }
  };
  const theme = (name) => {
    document.documentElement.dataset.theme = name;
    $("theme").textContent = THEMES[name][0];
    $("theme").setAttribute("aria-label", `Theme: ${THEMES[name][1]}`);
    try {
      localStorage.setItem("tunesmith-theme", name);
    } catch {
      // it is forgotten with the page
    }
  };
  const nextTheme = () => {
    const names = Object.keys(THEMES);
    theme(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
  };
  theme(stored() in THEMES ? stored() : "auto");
  $("theme").addEventListener("click", nextTheme);
  const help = () => ($("help").open ? $("help").close() : $("help").showModal());
  $("help-button").addEventListener("click", help);
  $("help").addEventListener("click", (event) => event.target === $("help") && $("help").close());
  const refilter = () => {
    filter();
    if (feed.getBoundingClientRect().top < 0) window.scrollTo(0, 0);
  };
  $("which").addEventListener("change", refilter);
  $("clear").addEventListener("click", () => {
    $("search").value = query = "";
    $("which").value = "all";
    refilter();
    $("search").focus();
  });
  let waiting = 0;
  const search = () => {
    clearTimeout(waiting);
    query = $("search").value.trim().toLowerCase();
    refilter();
  };
  $("search").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, 120);
  });
  $("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      search();
      go(shown[0]);
    } else if (event.key === "Escape") {
      if ($("search").value) {
        $("search").value = "";
        search();
      }
      $("search").blur();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  const KEYS = {
    j: () => step(1),
    k: () => step(-1),
    g: () => go(shown[0]),
    G: () => go(shown[shown.length - 1]),
    ArrowRight: () => point(1),
    ArrowLeft: () => point(-1),
    "/": () => $("search").select() || $("search").focus(),
    f: () => {
      $("which").selectedIndex = ($("which").selectedIndex + 1) % $("which").options.length;
      refilter();
    },
    1: () => fold("control"),
    2: () => fold("context"),
    3: () => fold("trained"),
    4: () => fold("cut"),
    b: () => feed.classList.toggle("borders"),
    t: nextTheme,
    "?": help,
    Escape: unpoint,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea")) return;
    if ($("help").open && event.key !== "?") return;
    if (!Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });

  const measure = () => document.documentElement.style.setProperty("--bar", `${$("bar").offsetHeight}px`);
  new ResizeObserver(measure).observe($("bar"));
  measure();
  filter();
  const named = /^#row-(\d+)$/.exec(location.hash);
  if (named && rows[named[1] - 1]) go(rows[named[1] - 1]);
  document.documentElement.dataset.ready = "true";
})();
