// What users of OpenAI's and Anthropic's SDKs for JavaScript and of Vercel's AI SDK do, against a
// gateway named by OPENAI_BASE_URL and OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, with
// providers of both dialects behind it.
//
// Each function is one promise; the first that is broken ends the program with its error.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The packages stand where the test command has put them.
const require = createRequire(process.env.NODE_PACKAGES + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { default: OpenAI } = await load("openai");
const { default: Anthropic } = await load("@anthropic-ai/sdk");
const { generateText, streamText, stepCountIs, tool } = await load("ai");
const { createOpenAI } = await load("@ai-sdk/openai");
const { createAnthropic } = await load("@ai-sdk/anthropic");
const { z } = await load("zod");

const TEXT = "The sun shines in Bern.";
const ASKED = { role: "user", content: "How is the weather in Bern?" };
const DIALECTS = ["open", "claude"];
const parameters = {
  type: "object",
  properties: { city: { type: "string" }, unit: { type: "string" } },
  required: ["city"],
};
const said = { city: "Bern", unit: "celsius" };

const openai = new OpenAI({ maxRetries: 0 });
const anthropic = new Anthropic({ maxRetries: 0 });
const vercel = [
  createOpenAI({ baseURL: process.env.OPENAI_BASE_URL }).chat,
  createAnthropic({ baseURL: process.env.ANTHROPIC_BASE_URL + "/v1" }),
];

async function bothAskForAuto() {
  const chat = await openai.chat.completions.create({ model: "auto", messages: [ASKED] });
  assert.ok(chat.choices[0].message.content);
  const message = await anthropic.messages.create({ model: "claude-auto", max_tokens: 50, messages: [ASKED] });
  assert.ok(message.content.length > 0);
}

async function openaiStreamsAndCallsTools() {
  const tools = [{ type: "function", function: { name: "weather", parameters } }];
  for (const dialect of DIALECTS) {
    const options = { stream: true, stream_options: { include_usage: true } };
    const plain = { model: `fake/${dialect}-plain`, messages: [ASKED] };
    let text = "";
    let usages = 0;
    for await (const chunk of await openai.chat.completions.create({ ...plain, ...options })) {
      text += chunk.choices[0]?.delta.content ?? "";
      usages += chunk.usage ? 1 : 0;
    }
    assert.equal(text, TEXT);
    assert.equal(usages, 1);
    const weather = {
      type: "function",
      function: { name: "weather", parameters, parse: JSON.parse, function: ({ city }) => `sun in ${city}` },
    };
    const agent = { model: `fake/${dialect}-agent`, messages: [ASKED] };
    for (const stream of [false, true]) {
      const runner = openai.chat.completions.runTools({ ...agent, tools: [weather], stream });
      assert.equal(await runner.finalContent(), TEXT);
    }
    const call = await openai.chat.completions.create({ ...agent, tools });
    assert.equal(call.choices[0].finish_reason, "tool_calls");
  }
}

async function anthropicStreamsAndCallsTools() {
  const tools = [{ name: "weather", input_schema: parameters }];
  for (const dialect of DIALECTS) {
    const plain = { model: `fake/${dialect}-plain`, max_tokens: 50, messages: [ASKED] };
    assert.equal(await anthropic.messages.stream(plain).finalText(), TEXT);
    const agent = { model: `fake/${dialect}-agent`, max_tokens: 50, tools };
    const first = await anthropic.messages.stream({ ...agent, messages: [ASKED] }).finalMessage();
    const call = first.content.find((block) => block.type === "tool_use");
    assert.deepEqual(call.input, said);
    const result = { type: "tool_result", tool_use_id: call.id, content: "sun" };
    const messages = [ASKED, { role: "assistant", content: first.content }, { role: "user", content: [result] }];
    const last = await anthropic.messages.create({ ...agent, messages });
    assert.equal(last.content.at(-1).text, TEXT);
  }
}

async function vercelTakesSteps() {
  const weather = tool({
    description: "The weather in a city",
    inputSchema: z.object({ city: z.string(), unit: z.string().optional() }),
    execute: async ({ city }) => `sun in ${city}`,
  });
  for (const client of vercel) {
    for (const dialect of DIALECTS) {
      const model = client(`fake/${dialect}-agent`);
      const ask = { model, prompt: ASKED.content, tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 };
      const whole = await generateText(ask);
      assert.equal(whole.text, TEXT);
      assert.equal(whole.steps.length, 2);
      const stream = streamText(ask);
      let text = "";
      for await (const piece of stream.textStream) text += piece;
      assert.equal(text, TEXT + TEXT);
      assert.ok((await stream.totalUsage).outputTokens > 0);
    }
  }
}

async function refusalsAreTheSdksOwnErrors() {
  const wrong = { model: "nobody", messages: [ASKED] };
  await assert.rejects(openai.chat.completions.create(wrong), OpenAI.NotFoundError);
  await assert.rejects(anthropic.messages.create({ ...wrong, max_tokens: 5 }), (error) => {
    assert.ok(error instanceof Anthropic.NotFoundError);
    assert.ok(error.requestID, "the refusal has the request's id");
    return true;
  });
}

const PROMISES = [
  bothAskForAuto,
  openaiStreamsAndCallsTools,
  anthropicStreamsAndCallsTools,
  vercelTakesSteps,
  refusalsAreTheSdksOwnErrors,
];
for (const promise of PROMISES) {
  await promise();
  console.log(promise.name);
}
console.log("all good");
