// How far what was seen has jumped by itself, as the browser measures it: below 0.1 is good (web.dev).
globalThis.shifts = [];
new PerformanceObserver((list) => shifts.push(...list.getEntries().map((entry) => entry.value)))
  .observe({ type: "layout-shift", buffered: true });
