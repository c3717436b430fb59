// Drives the official SDK for JavaScript, as openai_python.py does its own: the task comes as JSON on standard
// input, and how each operation went is told in a line each.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import OpenAI, { toFile } from "openai";
import { Stream } from "openai/streaming";

const task = JSON.parse(readFileSync(0, "utf8"));
const PATIENCE = 30_000;
const CHAT = "/v1/chat/completions";
const EXPIRY = { anchor: "created_at", seconds: 3600 };

/** One request line; the upstream does what its text says. */
const line = (customId, text) => {
  const body = { model: "practice", messages: [{ role: "user", content: text }] };
  return JSON.stringify({ custom_id: customId, method: "POST", url: CHAT, body }) + "\n";
};
const ANSWERED = line("a", "line-a");
const HALF_REFUSED = ANSWERED + line("b", "line-b 400");
const SLOW = line("a", "line-a slow 60");

/** A client that asks once, so that every refusal is seen. */
const clientOf = (apiKey) =>
  new OpenAI({ baseURL: task.url, apiKey, maxRetries: 0, timeout: PATIENCE });
const client = clientOf(task.key);
const hook = `${task.receiver}/openai-npm`;

const until = async (ask) => {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const found = await ask();
    if (found !== undefined) return found;
    assert.ok(Date.now() < deadline, "nothing came in time");
    await sleep(50);
  }
};

const uploaded = async (content = ANSWERED, name = "in.jsonl", more = {}) =>
  client.files.create({ file: await toFile(Buffer.from(content), name), purpose: "batch", ...more });

const upload = (bytes) =>
  client.uploads.create({ bytes, filename: "in.jsonl", mime_type: "application/jsonl", purpose: "batch" });

const inParts = async () => {
  const pieces = [1, 2, 3, 4].map((n) => ANSWERED.repeat(n));
  const content = pieces.join("");
  const made = await upload(content.length);
  const parts = await Promise.all(
    pieces.map(async (piece) =>
      client.uploads.parts.create(made.id, { data: await toFile(Buffer.from(piece), "part") }),
    ),
  );
  for (const part of parts) assert.deepEqual([part.object, part.upload_id], ["upload.part", made.id]);
  return { content, made, parts };
};

const batchOf = async (content = ANSWERED, more = {}) =>
  client.batches.create({
    input_file_id: (await uploaded(content)).id,
    endpoint: CHAT,
    completion_window: "24h",
    ...more,
  });

const ended = (batch) =>
  until(async () => {
    const seen = await client.batches.retrieve(batch.id);
    return ["completed", "failed", "expired", "cancelled"].includes(seen.status) ? seen : undefined;
  });

/** What is answered once that is sealed which is asked for. */
const sealed = (path) =>
  until(async () => {
    try {
      return await client.get(path).asResponse();
    } catch (error) {
      if (!(error instanceof OpenAI.ConflictError)) throw error;
    }
  });

const endpointAt = (path = "") =>
  client.webhooks.create({ name: "client", url: hook + path, event_types: ["batch.completed"] });

const delivered = (path) =>
  until(async () => {
    const answer = await fetch(`${task.receiver}/heard/openai-npm${path}`);
    return answer.status === 200 ? answer.json() : undefined;
  });

const announced = async (path) => {
  const endpoint = await endpointAt(path);
  const batch = await ended(await batchOf());
  return { endpoint, batch, delivery: await delivered(path) };
};

const refused = async (kind, ask) => {
  try {
    await ask();
  } catch (error) {
    assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
    return error;
  }
  assert.fail(`no ${kind.name}`);
};

const all = async (pages) => {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
};
const ids = async (pages) => (await all(pages)).map((one) => one.id);
const madeThrice = async (make) => {
  const made = [];
  for (let n = 0; n < 3; n++) made.unshift((await make()).id);
  return made;
};

const operations = {
  async files_create() {
    const file = await uploaded(ANSWERED, "upload", { expires_after: EXPIRY });
    assert.deepEqual([file.object, file.status, file.bytes], ["file", "processed", ANSWERED.length]);
    assert.equal(file.expires_at, file.created_at + 3600);
  },
  async files_list() {
    const made = await madeThrice(uploaded);
    const listed = await ids(client.files.list({ purpose: "batch", order: "desc", limit: 2 }));
    assert.deepEqual(listed.slice(0, 3), made);
  },
  async files_retrieve() {
    const file = await uploaded();
    assert.equal((await client.files.retrieve(file.id)).id, file.id);
  },
  async files_wait() {
    const file = await uploaded();
    assert.equal((await client.files.waitForProcessing(file.id)).status, "processed");
  },
  async files_content() {
    const file = await uploaded();
    assert.equal(await (await client.files.content(file.id)).text(), ANSWERED);
    const pieces = await all((await client.files.content(file.id)).body);
    assert.equal(Buffer.concat(pieces).toString(), ANSWERED);
  },
  async files_delete() {
    const file = await uploaded();
    assert.deepEqual(await client.files.delete(file.id), { id: file.id, object: "file", deleted: true });
    await refused(OpenAI.NotFoundError, () => client.files.retrieve(file.id));
  },
  async uploads_create() {
    const made = await upload(10);
    assert.deepEqual([made.status, made.bytes, made.expires_at], ["pending", 10, made.created_at + 3600]);
  },
  async uploads_parts() {
    await inParts();
  },
  async uploads_complete() {
    const { content, made, parts } = await inParts();
    const md5 = createHash("md5").update(content).digest("hex");
    const completed = await client.uploads.complete(made.id, { part_ids: parts.map((p) => p.id), md5 });
    assert.deepEqual([completed.status, completed.file.bytes], ["completed", content.length]);
    assert.equal(await (await client.files.content(completed.file.id)).text(), content);
  },
  async uploads_cancel() {
    assert.equal((await client.uploads.cancel((await upload(10)).id)).status, "cancelled");
  },
  async batches_create() {
    const batch = await batchOf(ANSWERED, { metadata: { team: "search" }, output_expires_after: EXPIRY });
    assert.deepEqual([batch.object, batch.status], ["batch", "validating"]);
    assert.deepEqual(batch.metadata, { team: "search" });
    const output = await client.files.retrieve((await ended(batch)).output_file_id);
    assert.equal(output.expires_at, output.created_at + 3600);
  },
  async batches_create_again() {
    const { id } = await uploaded();
    const create = () =>
      client.batches.create(
        { input_file_id: id, endpoint: CHAT, completion_window: "24h" },
        { headers: { "Idempotency-Key": id } },
      );
    assert.equal((await create()).id, (await create()).id);
  },
  async batches_retrieve() {
    const batch = await ended(await batchOf(HALF_REFUSED));
    assert.equal(batch.status, "completed");
    assert.deepEqual(batch.request_counts, { total: 2, completed: 1, failed: 1 });
    assert.deepEqual([batch.model, batch.usage.input_tokens, batch.usage.output_tokens], ["practice", 7, 5]);
    const results = [
      [batch.output_file_id, "a"],
      [batch.error_file_id, "b"],
    ];
    for (const [file, customId] of results)
      assert.equal(JSON.parse(await (await client.files.content(file)).text()).custom_id, customId);
  },
  async batches_list() {
    const made = await madeThrice(() => batchOf());
    assert.deepEqual((await ids(client.batches.list({ limit: 2 }))).slice(0, 3), made);
  },
  async batches_cancel() {
    const batch = await batchOf(SLOW);
    assert.match((await client.batches.cancel(batch.id)).status, /^cancel/);
    assert.equal((await ended(batch)).status, "cancelled");
  },
  async models_list() {
    assert.deepEqual(await ids(client.models.list()), ["practice"]);
  },
  async models_retrieve() {
    assert.equal((await client.models.retrieve("practice")).object, "model");
  },
  async webhooks_create() {
    const endpoint = await endpointAt();
    assert.deepEqual([endpoint.object, endpoint.url], ["webhook_endpoint", hook]);
    assert.match(endpoint.signing_secret, /^whsec_/);
  },
  async webhooks_list() {
    const made = await madeThrice(endpointAt);
    assert.deepEqual((await ids(client.webhooks.list({ limit: 2 }))).slice(0, 3), made);
  },
  async webhooks_retrieve() {
    const endpoint = await endpointAt();
    assert.deepEqual((await client.webhooks.retrieve(endpoint.id)).event_types, ["batch.completed"]);
  },
  async webhooks_update() {
    const changed = await client.webhooks.update((await endpointAt()).id, { name: "other" });
    assert.deepEqual([changed.name, changed.url], ["other", hook]);
  },
  async webhooks_delete() {
    const { id } = await endpointAt();
    const deleted = await client.webhooks.delete(id);
    assert.deepEqual(deleted, { id, object: "webhook_endpoint.deleted", deleted: true });
  },
  async webhooks_rotate() {
    const { id, signing_secret } = await endpointAt();
    const rotated = await client.webhooks.rotateSecret(id, { keep_old_secret_active_for_24_hours: true });
    assert.match(rotated.signing_secret, /^whsec_/);
    assert.notEqual(rotated.signing_secret, signing_secret);
  },
  async webhooks_test() {
    const { id } = await endpointAt();
    const tested = await client.webhooks.test(id, { event_type: "batch.completed" });
    assert.deepEqual([tested.event_type, tested.webhook_endpoint_id], ["batch.completed", id]);
  },
  async webhooks_event_types() {
    assert.ok((await client.webhooks.eventTypes.list()).data.includes("batch.completed"));
  },
  async webhooks_unwrap() {
    const { endpoint, batch, delivery } = await announced("/unwrap");
    const unwrap = (body) => client.webhooks.unwrap(body, delivery.headers, endpoint.signing_secret);
    const event = await unwrap(delivery.body);
    assert.deepEqual([event.type, event.data.id], ["batch.completed", batch.id]);
    await refused(OpenAI.InvalidWebhookSignatureError, () => unwrap(delivery.body + " "));
  },
  async error_400() {
    const error = await refused(OpenAI.BadRequestError, () => batchOf(ANSWERED, { endpoint: "/v1/x" }));
    assert.deepEqual([error.param, error.code, error.type], ["endpoint", "invalid_value", "invalid_request_error"]);
    assert.match(error.message, /Invalid value: '\/v1\/x'/);
  },
  async error_401() {
    const stranger = clientOf("sk-wrong-wrong-wrong");
    const error = await refused(OpenAI.AuthenticationError, () => stranger.batches.retrieve("batch_x"));
    assert.equal(error.code, "invalid_api_key");
  },
  async error_403() {
    const reader = clientOf(task.read_key);
    const error = await refused(OpenAI.PermissionDeniedError, () => reader.webhooks.delete("whe_unknown"));
    assert.equal(error.code, "missing_scope");
  },
  async error_404() {
    const error = await refused(OpenAI.NotFoundError, () => client.batches.retrieve("batch_unknown"));
    assert.match(error.message, /No batch found with id 'batch_unknown'/);
  },
  async error_409() {
    const { id } = await ended(await batchOf());
    let asked = 0;
    const patient = client.withOptions({ maxRetries: 2, fetch: (...given) => (asked++, fetch(...given)) });
    await refused(OpenAI.ConflictError, () => patient.batches.cancel(id));
    assert.equal(asked, 1);
  },
  async error_429() {
    const limited = clientOf(task.limited_key);
    const error = await refused(OpenAI.RateLimitError, () =>
      limited.batches.create({ input_file_id: "file-x", endpoint: CHAT, completion_window: "24h" }),
    );
    assert.equal(error.code, "rate_limit_exceeded");
    assert.ok(Number(error.headers.get("retry-after")) > 0);
  },
  async extra_events() {
    const { id } = await ended(await batchOf());
    const page = await client.get(`/batches/${id}/events`, { query: { limit: 2 } });
    assert.deepEqual(page.data.map((event) => event.type), ["BatchCreated", "BatchStarted"]);
    const events = await client.get(`/batches/${id}/events`, {
      headers: { Accept: "text/event-stream", "Last-Event-ID": "2" },
      stream: true,
    });
    assert.equal((await all(events)).at(-1).type, "BatchCompleted");
  },
  async extra_history() {
    const { id } = await ended(await batchOf());
    assert.ok((await client.get(`/batches/${id}/history`)).data.length > 0);
  },
  async extra_results() {
    const { id } = await ended(await batchOf());
    const answer = await client.get(`/batches/${id}/results`, { query: { offset: 0, limit: 9 } }).asResponse();
    assert.equal(JSON.parse(await answer.text()).custom_id, "a");
    assert.equal(answer.headers.get("x-incomplete"), "false");
    assert.equal(answer.headers.get("x-last-line"), "1");
  },
  async extra_errors() {
    const { id } = await ended(await batchOf(HALF_REFUSED));
    const [group, ...others] = (await client.get(`/batches/${id}/errors`)).data;
    assert.deepEqual([group.status_code, group.custom_ids, others], [400, ["b"], []]);
  },
  async extra_line() {
    const { id } = await ended(await batchOf());
    assert.equal((await client.get(`/batches/${id}/lines/a`)).status, "completed");
  },
  async extra_retry() {
    const { id } = await ended(await batchOf(HALF_REFUSED));
    const again = await client.post(`/batches/${id}/retry`);
    assert.equal(again.batchmill.retry_of, id);
    assert.equal((await ended(again)).request_counts.total, 1);
  },
  async extra_validate() {
    const body = { input_file_id: (await uploaded()).id, endpoint: CHAT };
    const answer = await client.post("/batchmill/validate", { body });
    assert.deepEqual([answer.valid, answer.lines], [true, 1]);
  },
  async extra_evidence() {
    const { id } = await ended(await batchOf());
    const evidence = await (await sealed(`/batches/${id}/evidence`)).text();
    assert.ok(evidence.startsWith("bundle ") && evidence.includes(id));
  },
  async extra_checkpoint() {
    const { id } = await ended(await batchOf());
    await sealed(`/batches/${id}/evidence`);
    assert.ok((await client.get("/batchmill/audit/checkpoint")).size > 1);
  },
  async extra_proof() {
    const { id } = await ended(await batchOf());
    const [proof, ...others] = (await (await sealed(`/batchmill/audit/proof?batch_id=${id}&limit=1`)).json()).data;
    assert.deepEqual([proof.stream_id, proof.type, others], [id, "BatchCreated", []]);
  },
  async extra_consistency() {
    const { id } = await ended(await batchOf());
    await sealed(`/batches/${id}/evidence`);
    const made = await client.get("/batchmill/audit/consistency", { query: { from: 1 } });
    assert.ok(made.old_size === 1 && made.size > 1);
  },
  async extra_limits() {
    assert.equal((await client.get("/batchmill/limits")).object, "batchmill.limits");
  },
  async extra_enable() {
    const { id } = await endpointAt();
    const enabled = await client.post(`/batchmill/webhook_endpoints/${id}/enable`);
    assert.equal(enabled.batchmill.disabled_at, null);
  },
  async extra_deliveries() {
    const { endpoint, batch } = await announced("/deliveries");
    const listed = await client.get(`/batchmill/webhook_endpoints/${endpoint.id}/deliveries`);
    assert.deepEqual(listed.data.map((delivery) => delivery.batch_id), [batch.id]);
  },
  async extra_redeliver() {
    const { endpoint } = await announced("/redeliver");
    const path = `/batchmill/webhook_endpoints/${endpoint.id}/deliveries`;
    const [{ id }] = (await client.get(path)).data;
    assert.equal((await client.post(`${path}/${id}/redeliver`)).id, id);
  },
};

/** A failure with the line of this file that it came from. */
const told = (error) => {
  const file = basename(import.meta.url);
  const where = /openai_npm\.mjs:\d+/.exec(error.stack ?? "")?.[0] ?? file;
  return `${error.name} ${error.message}`.replace(/\s+/g, " ").slice(0, 400) + ` at ${where}`;
};

for (const [name, operation] of Object.entries(operations)) {
  let cell = "ok";
  try {
    await operation();
  } catch (error) {
    cell = told(error);
  }
  process.stdout.write(`${name} ${cell}\n`);
}
