// What the console does in the browser by itself: themes, shortcuts, reading on at the end of a table.
// Plain JavaScript, sent as it is.
(() => {
  const root = document.documentElement;
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem("walnut.theme") || "system";
  const draw = () => {
    const dark = chosen() === "dark" || (chosen() === "system" && prefers.matches);
    root.dataset.theme = dark ? "dark" : "light";
    if (window.Quasar) Quasar.Dark.set(dark);
  };
  const order = ["system", "light", "dark"];
  window.walnutTheme = (name) => {
    localStorage.setItem("walnut.theme", name || order[(order.indexOf(chosen()) + 1) % 3]);
    draw();
    const said = document.getElementById("w-said");
    if (said) said.textContent = `Theme: ${chosen()}`;
  };
  draw();
  prefers.addEventListener("change", draw);
  addEventListener("DOMContentLoaded", () => {
    root.lang = "en";
    draw();
  });

  window.walnutMenu = () => {
    if (document.body.classList.toggle("w-open")) document.querySelector(".w-menu a")?.focus();
  };
  addEventListener("click", (event) => {
    if (!event.target.closest(".w-menu, .w-narrow")) document.body.classList.remove("w-open");
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.body.classList.remove("w-open");
  });

  // Shortcuts. `g` waits a second and a half for the letter of a page.
  let going = 0;
  const rows = () => [...document.querySelectorAll("a[role=row]")];
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(document.activeElement);
    all[Math.max(0, Math.min(all.length - 1, at < 0 ? 0 : at + by))].focus();
  };
  const press = (selector) => {
    const button = document.querySelector(selector);
    if (button) button.click();
    return button;
  };
  addEventListener("keydown", (event) => {
    const target = event.target;
    const typing = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
    if (typing || event.ctrlKey || event.metaKey || event.altKey) {
      if (typing && event.key === "Escape") target.blur();
      return;
    }
    if (document.querySelector(".q-dialog--modal")) return;
    if (Date.now() - going < 1500) {
      going = 0;
      const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); location.href = link.href; }
      return;
    }
    const done = {
      "?": () => press("[data-key='?']"),
      g: () => (going = Date.now()),
      t: () => (walnutTheme(), true),
      j: () => (step(1), true),
      k: () => (step(-1), true),
      f: () => press("[data-key=f]"),
      n: () => press("[data-key=n]"),
      e: () => press("[data-key=e]"),
      "/": () => {
        const field = document.querySelector("[data-key='/'] input, input[data-key='/']");
        if (field) { field.focus(); field.select(); }
        return true;
      },
    }[event.key];
    if (done && done()) event.preventDefault();
  });

  // When the socket is gone, somebody is asked whether the session is: then nothing stays in sight.
  const ended = () => {
    const main = document.getElementById("w-main");
    if (!main || document.getElementById("w-ended")) return;
    const login = `${location.origin}/console/login?next=${encodeURIComponent(location.pathname + location.search)}`;
    document.querySelectorAll(".q-dialog, .q-notification, .nicegui-error-popup").forEach((e) => e.remove());
    main.innerHTML =
      '<section class="w-panel" id="w-ended" role="alert"><div class="w-empty"><h2>Your session has ended</h2>' +
      "<p>Log in again to go on where you were.</p></div></section>";
    const link = Object.assign(document.createElement("a"), { href: login, textContent: "Log in", className: "w-button" });
    main.querySelector(".w-empty").append(link);
    link.focus();
    window.socket.disconnect();
  };
  const ask = () =>
    fetch("/console/favicon.ico", { cache: "no-store" }).then((answer) => answer.status === 401 && ended()).catch(() => {});
  addEventListener("load", () => {
    const watch = () => {
      if (!window.socket) return setTimeout(watch, 100);
      window.socket.on("disconnect", (why) => why !== "io client disconnect" && ask());
      window.socket.on("connect_error", ask);
    };
    watch();
  });

  // The button at the end of a table is pressed as it comes into sight.
  const seen = new IntersectionObserver((entries) => {
    entries.filter((e) => e.isIntersecting).forEach((e) => e.target.click());
  }, { rootMargin: "200px" });
  new MutationObserver(() => {
    document.querySelectorAll("[data-more]:not([data-seen])").forEach((e) => {
      e.dataset.seen = "yes";
      seen.observe(e);
    });
  }).observe(root, { childList: true, subtree: true });
})();
