// Node's own fetch through `pixelmeter proxy`: the base URL is all that is different.
//
//     OPENAI_BASE_URL=http://127.0.0.1:8088/v1 OPENAI_API_KEY=... node examples/proxy/fetch.mjs

const base = process.env.OPENAI_BASE_URL ?? "http://127.0.0.1:8088/v1";
const headers = {
  "content-type": "application/json",
  authorization: `Bearer ${process.env.OPENAI_API_KEY}`,
  // Whom the call is spent for; the gateway does not see it.
  "x-pixelmeter-tags": process.env.PIXELMETER_CALL_TAGS ?? "team=growth,feature=hero",
};

async function generate(fields) {
  const body = JSON.stringify({ prompt: "a red fox in the snow", ...fields });
  const answer = await fetch(`${base}/images/generations`, { method: "POST", headers, body });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  return answer;
}

const whole = await (await generate({ model: "meta/sam-3-1-image" })).json();
console.log(`${whole.data.length} image`);

const stream = await generate({ model: "openai/gpt-image-1", stream: true, partial_images: 1 });
let text = "";
for await (const piece of stream.body.pipeThrough(new TextDecoderStream())) text += piece;
const events = text.split("\n\n").filter((event) => event.includes('"type"'));
const earlier = events.filter((event) => event.includes("partial_image")).length;
console.log(`${events.length - earlier} image, after ${earlier} earlier event`);
