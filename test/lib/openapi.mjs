// The HTTP API as its own document describes it: every answer is held against the document's schemas.
import assert from 'node:assert/strict';
import { request as http } from 'node:http';
import { Ajv2020 } from 'ajv/dist/2020.js';
import formats from 'ajv-formats';

const METHODS = ['get', 'put', 'post', 'delete'];

export class Document {
  called = new Map(); // operationId -> the statuses it was answered with
  operations = []; // { id, method, path, pattern, op }

  /** Reads the document that the server shows. */
  static async of(server) {
    const { status, body } = await server.probe('/api/v1/openapi.json');
    assert.equal(status, 200);
    const document = new Document(JSON.parse(body));
    document.called.set('getOpenAPI', new Set([200]));
    return document;
  }

  constructor(text) {
    this.text = text;
    this.ajv = new Ajv2020({ strict: false, allErrors: true });
    formats.default(this.ajv);
    this.ajv.addSchema(text, 'openapi', true, false);
    for (const [path, item] of Object.entries(text.paths)) {
      for (const method of METHODS) {
        if (!item[method]) continue;
        const pattern = new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`);
        this.operations.push({ id: item[method].operationId, method: method.toUpperCase(), path, pattern, op: item[method] });
      }
    }
    this.operations.sort((a, b) => a.path.includes('{') - b.path.includes('{')); // the exact ones first
  }

  /** The operation of a method at the path that fits best, if it has one. */
  operation(method, url) {
    const { pathname } = new URL(url, 'http://any');
    const best = this.operations.find(({ pattern }) => pattern.test(pathname))?.path;
    return this.operations.find((o) => o.path === best && o.method === (method === 'HEAD' ? 'GET' : method));
  }

  /** An answer is one that the document has. */
  checkAnswer(method, url, answer) {
    const found = this.operation(method, url);
    const what = `${method} ${url.slice(0, 200)}: ${answer.status} ${answer.text.slice(0, 500)}`;
    if (!found) {
      this.#checkProblem(what, answer);
      return;
    }
    const described = this.#resolve(found.op.responses[answer.status]);
    assert.ok(described, `the document has no such answer: ${what}`);
    if (!this.called.has(found.id)) this.called.set(found.id, new Set());
    this.called.get(found.id).add(answer.status);
    for (const [name, header] of Object.entries(described.headers ?? {})) {
      const value = answer.headers[name.toLowerCase()];
      if (value === undefined) continue;
      const read = header.schema.type === 'integer' ? Number(value) : value;
      this.#validate(header.schema, read, `${what}: header ${name}`);
    }
    if (answer.status === 401) assert.match(answer.headers['www-authenticate'], /^Bearer/, what);
    if (answer.status === 429) assert.match(answer.headers['retry-after'], /^[1-9]\d*$/, what);
    if (!described.content) {
      assert.equal(answer.text, '', what);
      return;
    }
    const type = answer.headers['content-type']?.split(';')[0];
    const content = described.content[type];
    assert.ok(content, `content type ${type} of ${what}`);
    if (answer.status >= 400) this.#checkProblem(what, answer);
    const value = /json/.test(type) ? () => JSON.parse(answer.text) : () => answer.text;
    if (method !== 'HEAD' && content.schema) this.#validate(content.schema, value(), what);
  }

  /** A body that was taken is one that the document allows. */
  checkBody(method, url, body) {
    const schema = this.operation(method, url)?.op.requestBody?.content['application/json']?.schema;
    if (schema && body !== undefined) this.#validate(schema, body, `the body of ${method} ${url}`);
  }

  #checkProblem(what, { method, status, text, headers }) {
    assert.equal(headers['content-type'], 'application/problem+json', what);
    if (method === 'HEAD') return;
    const problem = JSON.parse(text);
    this.#validate({ $ref: 'openapi#/components/schemas/Problem' }, problem, what);
    assert.equal(problem.status, status, what);
    assert.ok(problem.detail, `a detail in ${what}`);
  }

  #validate(schema, value, what) {
    const validate = this.ajv.compile(this.#absolute(schema));
    assert.ok(validate(value), `${what}\n${JSON.stringify(validate.errors, null, 1)}`);
  }

  /** A schema in the middle of the document, to be compiled by itself. */
  #absolute(schema) {
    return JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"openapi#/'));
  }

  #resolve(described) {
    const { $ref } = described ?? {};
    return $ref ? $ref.slice(2).split('/').reduce((at, name) => at[name], this.text) : described;
  }
}

export class Caller {
  /** Somebody who calls a server's API with a token; undefined sends none. */
  constructor(document, server, bearer) {
    Object.assign(this, { document, server, bearer });
  }

  /** The same, at another server or with another token. */
  at = (server) => new Caller(this.document, server, this.bearer);

  with = (bearer) => new Caller(this.document, this.server, bearer);

  /**
   * Sends a request below /api/v1, or to a path that begins with '//' without that: { status, headers, text, body }. Of a
   * body that is no string or Buffer the JSON is sent. Whatever comes back is held against the document.
   */
  async ask(method, path, body, headers = {}) {
    const url = path.startsWith('//') ? path.slice(1) : `/api/v1${path}`;
    const raw = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const [host, port] = this.server.addresses.health.split(':');
    const answer = await new Promise((resolve, reject) => {
      const sent = http({
        host, port, method, path: url, agent: false,
        headers: {
          ...(this.bearer && { authorization: `Bearer ${this.bearer}` }),
          ...(raw !== undefined && { 'content-type': 'application/json', 'content-length': Buffer.byteLength(raw) }),
          ...headers,
        },
      }, async (from) => {
        try {
          from.setEncoding('utf8');
          let text = '';
          for await (const chunk of from) text += chunk;
          resolve({ method, status: from.statusCode, headers: from.headers, text });
        } catch (error) {
          reject(error);
        }
      });
      sent.on('error', reject);
      sent.end(raw);
    });
    this.document.checkAnswer(method, url, answer);
    answer.body = /json/.test(answer.headers['content-type']) && answer.text ? JSON.parse(answer.text) : undefined;
    if (answer.status < 300 && typeof body === 'object') this.document.checkBody(method, url, body);
    return answer;
  }

  /** The same, for what must be answered with a status; the body of the answer. */
  async gets(status, method, path, body, headers) {
    const answer = await this.ask(method, path, body, headers);
    assert.equal(answer.status, status, `${method} ${path.slice(0, 200)}: ${answer.text.slice(0, 500)}`);
    return answer.body;
  }
}
