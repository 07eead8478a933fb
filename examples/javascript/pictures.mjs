// Make images from JavaScript, with fetch alone, and have them metered by a proxy beside the program.
//
//   pixelmeter proxy --upstream https://api.aigateway.sh &
//   export OPENAI_API_KEY=... OPENAI_BASE_URL=http://127.0.0.1:8088/v1
//   node examples/javascript/pictures.mjs
//
// The openai package reads the same two variables: new OpenAI({ defaultHeaders: { "x-pixelmeter-tags": "customer=acme" } }).
// Afterwards `pixelmeter report --by tag:customer` says what each customer cost.

const { OPENAI_BASE_URL, OPENAI_API_KEY } = process.env;

async function picture(customer, prompt) {
  const response = await fetch(`${OPENAI_BASE_URL}/images/generations`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${OPENAI_API_KEY}`,
      "content-type": "application/json",
      // For the proxy, which takes it out: whom the call is spent for.
      "x-pixelmeter-tags": `customer=${encodeURIComponent(customer)}`,
    },
    body: JSON.stringify({ model: "meta/sam-3-1-image", prompt, response_format: "url" }),
  });
  if (!response.ok) {
    throw new Error(`${response.status}: ${await response.text()}`);
  }
  const { data } = await response.json();
  return data[0].url;
}

const customers = ["acme", "globex"];
const made = await Promise.all(customers.map((customer) => picture(customer, `a banner for ${customer}`)));
console.log(made.join("\n"));
