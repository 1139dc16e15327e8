// What a program in JavaScript does with the gateway: node client.mjs openai|ai turns|cancel|error
// It prints what it heard as JSON.
import OpenAI from "openai";
import { streamText } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";

const [baseURL, apiKey] = [process.env.GATEWAY_URL, process.env.GATEWAY_TOKEN];
const [, , library, scene] = process.argv;

async function* withOpenAI(messages, signal) {
  const client = new OpenAI({ baseURL, apiKey });
  const stream = await client.chat.completions.create({ model: "main", messages, stream: true }, { signal });
  for await (const chunk of stream) yield chunk.choices[0]?.delta?.content ?? "";
}

async function* withAi(messages, signal) {
  const provider = createOpenAICompatible({ name: "gateway", baseURL, apiKey, includeUsage: true });
  const result = streamText({ model: provider("main"), messages, abortSignal: signal, onError: () => {} });
  for await (const part of result.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") yield part.text ?? part.delta;
  }
}

const say = { openai: withOpenAI, ai: withAi }[library];

async function turns(count, messages = []) {
  const heard = [];
  for (let turn = 1; turn <= count; turn += 1) {
    messages.push({ role: "user", content: `/echo answer ${turn}` });
    let text = "";
    for await (const piece of say(messages)) text += piece;
    messages.push({ role: "assistant", content: text });
    heard.push(text);
  }
  return heard;
}

async function cancel() {
  const controller = new AbortController();
  try {
    for await (const piece of say([{ role: "user", content: "/echo hi" }], controller.signal)) {
      if (piece) controller.abort();
    }
  } catch (error) {
    if (!controller.signal.aborted) throw error;
  }
  return turns(1);
}

async function error() {
  try {
    for await (const _ of say([{ role: "user", content: "hi" }])) _;
  } catch (error) {
    const body = error.error ?? error.data?.error ?? {};
    return { status: error.status ?? error.statusCode, code: error.code ?? body.code };
  }
  return null;
}

console.log(JSON.stringify(await { turns: () => turns(4), cancel, error }[scene]()));
