"use strict";
(() => {
  const tip = document.getElementById("tip");
  const short = v => {
    const a = Math.abs(v);
    if (a >= 1000) return Math.round(v).toLocaleString("en");
    if (a !== 0 && a < 1e-3) return v.toExponential(2);
    return String(Number(v.toPrecision(4)));
  };
  // From a place on the screen back to the value: from, to, first value, last value, lin or log.
  const scale = text => {
    const [p, q, u, v, kind] = text.split(" ");
    const part = px => (px - p) / (q - p);
    return kind === "log" ? px => u * Math.pow(v / u, part(px)) : px => Number(u) + part(px) * (v - u);
  };
  const places = g => [...g.querySelectorAll("polyline.mark")].flatMap(l => [...l.points].map(p => [p.x, p.y]))
    .concat([...g.querySelectorAll("circle")].map(c => [c.cx.baseVal.value, c.cy.baseVal.value]));
  for (const svg of document.querySelectorAll("svg.chart[data-x]")) {
    const x = scale(svg.dataset.x), y = scale(svg.dataset.y), cursor = svg.querySelector(".cursor");
    let series = null;
    const hide = () => { tip.hidden = true; cursor.setAttribute("visibility", "hidden"); };
    const show = event => {
      series ??= [...svg.querySelectorAll("g[data-name]")].map(g => ({ name: g.dataset.name, at: places(g) })).filter(s => s.at.length);
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const far = p => 9 * (p[0] - at.x) ** 2 + (p[1] - at.y) ** 2;
      const near = series.map(s => ({ name: s.name, p: s.at.reduce((a, b) => far(b) < far(a) ? b : a) }));
      if (!near.length) return;
      const best = near.reduce((a, b) => far(b.p) < far(a.p) ? b : a).p;
      tip.textContent = near.map(n => n.name + "  " + short(y(n.p[1])) + " at " + short(x(n.p[0]))).join("\n");
      tip.hidden = false;
      const box = tip.getBoundingClientRect();
      tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 4)) + "px";
      tip.style.top = Math.max(4, event.clientY - box.height - 12) + "px";
      cursor.setAttribute("x1", best[0]); cursor.setAttribute("x2", best[0]); cursor.setAttribute("visibility", "visible");
    };
    svg.addEventListener("pointermove", show); svg.addEventListener("pointerdown", show); svg.addEventListener("pointerleave", hide);
  }
})();
