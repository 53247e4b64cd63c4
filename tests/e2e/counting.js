// How many pictures the page had, after each change of it.
globalThis.counts = [];
new MutationObserver(() => {
  const count = document.querySelectorAll("[role=option]").length;
  if (count !== counts.at(-1)) counts.push(count);
}).observe(document, { childList: true, subtree: true });
