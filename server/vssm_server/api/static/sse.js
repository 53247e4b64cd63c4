// Server-sent events over fetch (EventSource cannot POST).

/** The events {event, data} of a response's body, data parsed as JSON, as they come. */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const event of blocks.map(parse)) if (event) yield event;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** One block of lines, or null if it is a comment (the server's ping). */
function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name) fields[name] = value;
  }
  return fields.data === undefined ? null : { event: fields.event, data: JSON.parse(fields.data) };
}
