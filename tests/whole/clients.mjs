// Every feature of a server through OpenAI's client for Node; prints a line for each that holds.
//   node clients.mjs ADDRESS TOKEN TALKING   (TALKING: a server whose model says what it is told)
import assert from "node:assert/strict";
import OpenAI from "openai";

const [address, apiKey, talking] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey, maxRetries: 0 });
const told = new OpenAI({ baseURL: `${talking}/v1`, apiKey, maxRetries: 0 });
const model = "tuned";
const messages = [{ role: "user", content: "What is the capital of France?" }];
const asked = { model, messages, temperature: 0, max_tokens: 12 };
const parameters = {
  type: "object",
  properties: { city: { type: "string", maxLength: 12 } },
  required: ["city"],
  additionalProperties: false,
};
const tool = (name) => ({ type: "function", function: { name, description: "a test", parameters } });
const tools = [tool("weather"), tool("time")];

const ask = (more = {}) => client.chat.completions.create({ ...asked, ...more });

async function collected(stream) {
  const choices = [];
  let usage, chunks = 0;
  for await (const chunk of stream) {
    chunks += 1;
    if (chunk.usage) usage = chunk.usage;
    for (const { index, delta = {}, text, finish_reason, logprobs } of chunk.choices) {
      const to = (choices[index] ??= { content: "", thought: "", calls: [], logprobs: [] });
      assert.equal(to.finish, undefined, "nothing comes after the end");
      to.role ??= delta.role;
      to.content += delta.content ?? text ?? "";
      to.thought += delta.reasoning_content ?? "";
      to.logprobs.push(...(logprobs?.content ?? []));
      for (const call of delta.tool_calls ?? []) {
        const own = (to.calls[call.index] ??= { name: "", arguments: "" });
        own.id ??= call.id;
        own.name += call.function.name ?? "";
        own.arguments += call.function.arguments ?? "";
      }
      if (finish_reason) to.finish = finish_reason;
    }
  }
  return { choices, usage, chunks };
}

const streamed = async (more = {}) =>
  collected(await ask({ ...more, stream: true, stream_options: { include_usage: true } }));

async function refused(kind, param, work) {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof kind, `${error}`);
    assert.equal(error.param ?? null, param);
    assert.ok(error.code && error.type);
    return true;
  });
}

const features = {
  async models() {
    const found = [];
    for await (const each of client.models.list()) found.push(each.id);
    assert.deepEqual(found, [model, "base"]);
    assert.equal((await client.models.retrieve(model)).id, model);
    await refused(OpenAI.NotFoundError, "model", () => client.models.retrieve("other"));
  },

  async chat() {
    const answer = await ask();
    const [choice] = answer.choices;
    assert.equal(answer.object, "chat.completion");
    assert.equal(choice.message.role, "assistant");
    assert.equal(choice.finish_reason, "length");
    assert.equal(answer.usage.completion_tokens, 12);
    const { prompt_tokens, completion_tokens, total_tokens } = answer.usage;
    assert.equal(total_tokens, prompt_tokens + completion_tokens);
    assert.deepEqual((await ask()).choices, answer.choices);
    assert.equal((await ask({ max_tokens: undefined, max_completion_tokens: 3 })).usage.completion_tokens, 3);
  },

  async streaming() {
    const whole = await ask();
    const { choices: [heard], usage, chunks } = await streamed();
    assert.equal(heard.role, "assistant");
    assert.equal(heard.content, whole.choices[0].message.content);
    assert.equal(heard.finish, "length");
    assert.deepEqual(usage, whole.usage);
    assert.ok(chunks > 4);
    const silent = await collected(await ask({ stream: true }));
    assert.equal(silent.usage, undefined);
    const runner = client.chat.completions.stream({ ...asked });
    assert.equal((await runner.finalChatCompletion()).choices[0].message.content, heard.content);
  },

  async logprobs() {
    const how = { logprobs: true, top_logprobs: 3 };
    const [choice] = (await ask(how)).choices;
    assert.equal(choice.logprobs.content.length, 12);
    for (const each of choice.logprobs.content) {
      assert.equal(each.top_logprobs.length, 3);
      assert.equal(each.logprob, each.top_logprobs[0].logprob, "greedy takes the first");
      assert.ok(each.logprob <= 0);
    }
    assert.deepEqual((await streamed(how)).choices[0].logprobs, choice.logprobs.content);
  },

  async several() {
    const how = { n: 3, temperature: 1, seed: 5 };
    const { choices, usage } = await ask(how);
    assert.deepEqual(choices.map((each) => each.index), [0, 1, 2]);
    assert.equal(new Set(choices.map((each) => each.message.content)).size, 3);
    assert.equal(usage.completion_tokens, 36);
    const heard = (await streamed(how)).choices.map((each) => each.content);
    assert.deepEqual(heard, choices.map((each) => each.message.content));
  },

  async seeds() {
    const said = async (seed) => (await ask({ temperature: 1.2, seed })).choices[0].message.content;
    assert.equal(await said(7), await said(7));
    assert.notEqual(await said(7), await said(8));
  },

  async stops() {
    const text = (await ask()).choices[0].message.content;
    const stop = text.slice(4, 7);
    const [choice] = (await ask({ stop: [stop, "never said"] })).choices;
    assert.equal(choice.message.content, text.slice(0, text.indexOf(stop)));
    assert.equal(choice.finish_reason, "stop");
    const { choices: [heard] } = await streamed({ stop });
    assert.equal(heard.content, choice.message.content);
    assert.equal(heard.finish, "stop");
  },

  async sampling() {
    const how = { logprobs: true, max_tokens: 1 };
    const first = (await ask(how)).choices[0].logprobs.content[0].token;
    const id = (await client.completions.create({ model, prompt: [5], max_tokens: 1, temperature: 0,
      logit_bias: { 7: 100 }, logprobs: 0 })).choices[0].logprobs.tokens[0];
    const again = await client.completions.create({ model, prompt: [9], max_tokens: 1,
      temperature: 0, logit_bias: { 7: 100 } });
    assert.equal(again.choices[0].text, id);
    for (const cut of [{ top_k: 1 }, { top_p: 1e-9 }, { min_p: 1 }]) {
      const drawn = (await ask({ ...how, temperature: 1.5, ...cut })).choices[0];
      assert.equal(drawn.logprobs.content[0].token, first, JSON.stringify(cut));
    }
    const plain = (await ask({ max_tokens: 40 })).choices[0].message.content;
    for (const penalty of [
      { repetition_penalty: 3 }, { presence_penalty: 2 }, { frequency_penalty: 2 },
    ]) {
      const other = (await ask({ max_tokens: 40, ...penalty })).choices[0].message.content;
      assert.notEqual(other, plain, JSON.stringify(penalty));
    }
  },

  async tools() {
    const how = { tools, tool_choice: "required", max_tokens: 300 };
    const [choice] = (await ask(how)).choices;
    assert.equal(choice.finish_reason, "tool_calls");
    const [call] = choice.message.tool_calls;
    assert.equal(call.type, "function");
    assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["city"]);
    const named = { type: "function", function: { name: "time" } };
    const [other] = (await ask({ ...how, tool_choice: named })).choices;
    assert.equal(other.message.tool_calls[0].function.name, "time");
    const { choices: [heard] } = await streamed(how);
    assert.equal(heard.finish, "tool_calls");
    assert.equal(heard.content, "");
    assert.deepEqual(
      heard.calls.map(({ name, arguments: given }) => ({ name, arguments: given })),
      choice.message.tool_calls.map((each) => ({ ...each.function })),
    );
    const back = [
      ...messages, choice.message, { role: "tool", tool_call_id: call.id, content: "sunny" },
    ];
    const next = await ask({ tools, tool_choice: "none", messages: back });
    assert.equal(next.choices[0].message.tool_calls, undefined);
    assert.ok((await ask({ tools, messages: back })).usage.prompt_tokens > next.usage.prompt_tokens);
  },

  async parsed() {
    const response_format = {
      type: "json_schema",
      json_schema: { name: "found", strict: true, schema: parameters },
    };
    const text = (await ask({ response_format, max_tokens: 60 })).choices[0].message.content;
    assert.deepEqual(Object.keys(JSON.parse(text)), ["city"]);
    assert.equal((await streamed({ response_format, max_tokens: 60 })).choices[0].content, text);
    const object = await client.chat.completions.parse({ ...asked, response_format, max_tokens: 60 });
    assert.deepEqual(object.choices[0].message.parsed, JSON.parse(text));
    const any = await ask({ response_format: { type: "json_object" }, max_tokens: 2 });
    assert.ok(any.choices[0].message.content.startsWith("{"));
  },

  async completions() {
    const how = { model, temperature: 0, max_tokens: 6 };
    const whole = await client.completions.create({ ...how, prompt: "The quick", logprobs: 2 });
    const [choice] = whole.choices;
    assert.equal(whole.object, "text_completion");
    assert.equal(choice.logprobs.tokens.length, 6);
    assert.equal(choice.logprobs.tokens.join(""), choice.text);
    assert.deepEqual(choice.logprobs.text_offset[0], 0);
    const both = await client.completions.create({ ...how, prompt: ["The quick", "Hello"] });
    assert.equal(both.choices[0].text, choice.text);
    assert.deepEqual(both.choices.map((each) => each.index), [0, 1]);
    const { choices: [heard], usage } = await collected(await client.completions.create({
      ...how, prompt: "The quick", stream: true, stream_options: { include_usage: true },
    }));
    assert.equal(heard.content, choice.text);
    assert.deepEqual(usage, whole.usage);
  },

  async embeddings() {
    const input = ["Hello there!", "The quick brown fox"];
    const { data, usage } = await client.embeddings.create({ model, input });
    const plain = await client.embeddings.create({ model, input, encoding_format: "float" });
    assert.deepEqual(data.map((each) => each.index), [0, 1]);
    assert.equal(data[0].embedding.length, 64);
    for (const [i, each] of data.entries())
      for (const [j, value] of each.embedding.entries())
        assert.equal(Math.fround(value), Math.fround(plain.data[i].embedding[j]));
    assert.ok(usage.prompt_tokens > 2);
  },

  async adapters() {
    const tuned = (await ask()).choices[0].message.content;
    const base = (await ask({ model: "base" })).choices[0].message.content;
    assert.equal((await ask({ model: "base" })).model, "base");
    assert.notEqual(tuned, base);
  },

  async errors() {
    const stranger = new OpenAI({ baseURL: `${address}/v1`, apiKey: "other", maxRetries: 0 });
    await refused(OpenAI.AuthenticationError, null, () => stranger.models.list());
    await refused(OpenAI.NotFoundError, "model", () => ask({ model: "gpt-4" }));
    await refused(OpenAI.BadRequestError, "temperature", () => ask({ temperature: 9 }));
    await refused(OpenAI.BadRequestError, "tempature", () => ask({ tempature: 1 }));
    await refused(OpenAI.BadRequestError, "temperature", () => ask({ temperature: 9, stream: true }));
  },

  async leaving() {
    const stream = await ask({ max_tokens: 500, stream: true });
    for await (const _ of stream) break; // closes the connection
    const stopping = new AbortController();
    const long = client.chat.completions.create(
      { ...asked, max_tokens: 500 }, { signal: stopping.signal });
    setTimeout(() => stopping.abort(), 50);
    await assert.rejects(long, OpenAI.APIUserAbortError);
    assert.equal((await ask({ max_tokens: 1 })).usage.completion_tokens, 1);
  },

  async thoughts() {
    const how = { model, messages, tools };
    const [choice] = (await told.chat.completions.create(how)).choices;
    assert.equal(choice.message.reasoning_content, "Which city? Both.");
    assert.equal(choice.message.content, "Let me look.");
    const calls = choice.message.tool_calls.map((each) => each.function);
    assert.deepEqual(calls.map((each) => [each.name, JSON.parse(each.arguments).city]),
      [["weather", "Paris"], ["time", "Rome"]]);
    const { choices: [heard] } = await collected(
      await told.chat.completions.create({ ...how, stream: true }));
    assert.equal(heard.thought, choice.message.reasoning_content);
    assert.equal(heard.content, choice.message.content);
    assert.equal(heard.finish, "tool_calls");
    assert.deepEqual(heard.calls.map(({ name, arguments: given }) => [name, given]),
      calls.map((each) => [each.name, each.arguments]));
    assert.equal(new Set(heard.calls.map((each) => each.id)).size, 2);
    const one = await told.chat.completions.create({ ...how, parallel_tool_calls: false });
    assert.equal(one.choices[0].message.tool_calls.length, 1);
  },
};

let failed = 0;
for (const [name, look] of Object.entries(features)) {
  try {
    await look();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${name}: ${error.stack}`);
  }
}
process.exit(failed ? 1 : 0);
