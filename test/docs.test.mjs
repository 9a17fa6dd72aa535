// What the documentation says must be so: links lead somewhere, commands and settings exist, examples are taken.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startAlone } from './lib/server.mjs';
import { token } from './lib/tokens.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BINARY = process.env.EVENTBUS_BIN ? resolve(process.env.EVENTBUS_BIN) : join(ROOT, 'bin/eventbus');
const run = promisify(execFile);

const PAGES = [
  'README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'deploy/README.md', 'deploy/helm/event-bus/README.md', 'publisher/node/README.md',
  ...readdirSync(join(ROOT, 'docs'), { recursive: true }).filter((name) => name.endsWith('.md')).map((name) => join('docs', name)),
];

const text = (name) => readFileSync(join(ROOT, name), 'utf8');

/** A page in parts: its fenced blocks by language, its indented ones, and its prose, which is the rest. */
function read(name) {
  const page = { name, blocks: [], prose: [] };
  let fence; // the block that is open
  let before = '';
  for (const line of text(name).split('\n')) {
    const mark = line.match(/^( *)```(\w*)/);
    const last = page.blocks.at(-1);
    if (mark && fence) {
      fence = undefined;
    } else if (mark) {
      fence = { language: mark[2], lines: [], indent: mark[1].length };
      page.blocks.push(fence);
    } else if (fence) {
      fence.lines.push(line.slice(fence.indent));
    } else if (/^ {4,}\S/.test(line) && (before === '' || last?.open)) {
      if (last?.open) last.lines.push(line.trim());
      else page.blocks.push({ language: 'indented', lines: [line.trim()], open: true });
    } else {
      if (last?.open && line !== '') last.open = false;
      page.prose.push(line);
    }
    before = line.trim();
  }
  page.prose = page.prose.join('\n');
  return page;
}

const pages = PAGES.map(read);

/** The text of all blocks of a language: [{ page, code }]. */
const blocks = (language, names = PAGES) => pages
  .filter((page) => names.includes(page.name))
  .flatMap((page) => page.blocks.filter((b) => b.language === language).map((b) => ({ page: page.name, code: b.lines.join('\n') })));

/** What stands between backticks in a page's prose. */
const spans = (page) => [...page.prose.matchAll(/`([^`\n]+)`/g)].map((m) => m[1]);

/** What a page says altogether in code: blocks and spans, line by line, lines that end in a backslash joined. */
const codeLines = (page) => [
  ...spans(page),
  ...page.blocks.flatMap((b) => b.lines.join('\n').replaceAll(/\\\n\s*/g, '').split('\n')),
];

/** Fails with everything that is wrong, not with the first of it. */
function none(problems) {
  assert.deepEqual(problems, [], problems.join('\n'));
}

describe('links', () => {
  /** The anchors of a page's headings, as GitHub makes them. */
  function anchors(path) {
    const seen = new Map();
    let fenced = false;
    const found = new Set();
    for (const line of readFileSync(path, 'utf8').split('\n')) {
      if (/^ *```/.test(line)) fenced = !fenced;
      const heading = !fenced && line.match(/^#{1,6} (.*)$/);
      if (!heading) continue;
      const plain = heading[1].replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase();
      const slug = plain.replaceAll(/[^\p{L}\p{N}\s_-]/gu, '').trim().replaceAll(/\s/g, '-');
      const times = seen.get(slug) ?? 0;
      seen.set(slug, times + 1);
      found.add(times ? `${slug}-${times}` : slug);
    }
    return found;
  }

  for (const page of pages) {
    test(page.name, () => {
      const wrong = [];
      for (const [, to] of page.prose.replaceAll(/`[^`\n]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)) {
        if (/^(https?|mailto):/.test(to)) continue;
        const [file, anchor] = to.split('#');
        const path = file ? resolve(ROOT, dirname(page.name), file) : join(ROOT, page.name);
        if (!existsSync(path)) wrong.push(`${to}: there is no ${relative(ROOT, path)}`);
        else if (anchor && (!path.endsWith('.md') || !anchors(path).has(anchor))) wrong.push(`${to}: no such heading`);
      }
      none(wrong);
    });
  }

  test('the settings that the references link to', () => {
    for (const anchor of ['rules', 'filters', 'webhooks', 'event-types', 'validators']) {
      assert.ok(anchors(join(ROOT, 'docs/events.md')).has(anchor), anchor);
    }
  });

  test('decisions are listed', () => {
    const listed = [...text('docs/decisions/README.md').matchAll(/\((\d{4}-[^)]+)\)/g)].map((m) => m[1]);
    const there = readdirSync(join(ROOT, 'docs/decisions')).filter((name) => name !== 'README.md');
    assert.deepEqual(listed, there.sort());
  });
});

describe('commands', () => {
  const help = new Map(); // command line -> its flags

  async function flagsOf(program, command) {
    const key = `${program} ${command}`;
    if (!help.has(key)) {
      const [file, ...args] = program === 'eventbus' ? [BINARY, command, '--help'] : ['go', 'run', `./cmd/${program}`, '--help'];
      const { stdout } = await run(file, args, { cwd: ROOT });
      help.set(key, new Set([...stdout.matchAll(/^ {2}-([\w-]+)/gm)].map((m) => m[1])));
    }
    return help.get(key);
  }

  /** Splits a command line as a shell does, up to what is no longer its own: a comment, a pipe, a redirection. */
  function words(line) {
    const all = [];
    for (const [word] of line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+|[|;&<>#]/g)) {
      if (/^[|;&<>#]/.test(word)) break;
      all.push(word);
    }
    return all;
  }

  for (const page of pages) {
    test(page.name, async () => {
      const wrong = [];
      for (const line of codeLines(page)) {
        for (const [, program, rest] of line.matchAll(/(?:^|[\s(/])(eventbus(?:-autoscaler)?) ((?:[a-z]|--)[^)]*)/g)) {
          const args = words(rest);
          const command = program === 'eventbus' ? args.shift() : '';
          if (command === 'COMMAND' || !/^[a-z-]*$/.test(command)) continue;
          const flags = await flagsOf(program, command).catch((error) => wrong.push(`${line}: ${error.message}`) && new Set());
          for (const flag of args.filter((arg) => /^--?[a-z]/.test(arg)).map((arg) => arg.replace(/^--?/, '').split('=')[0])) {
            if (!flags.has(flag) && !['help', 'h'].includes(flag)) wrong.push(`${line}: ${program} ${command} has no --${flag}`);
          }
        }
      }
      none(wrong);
    });
  }
});

describe('settings', () => {
  const rows = text('docs/configuration.md').split('\n').filter((line) => line.startsWith('| `'));
  const keys = rows.map((row) => row.match(/^\| `([^`]+)`/)[1]);
  const variables = new Set(rows.flatMap((row) => row.match(/\| `([A-Z0-9_]+)` \|/)?.[1] ?? []));
  const others = new Map([...text('docs/configuration.md').matchAll(/^`([\w.]+)` is another name of `([\w.]+)`/gm)].map((m) => [m[1], m[2]]));
  for (const [other, key] of others) assert.ok(keys.includes(key), `${key} is no setting, and ${other} its other name`);
  keys.push(...others.keys());
  const OTHERS = new Set([ // variables of Compose, Kubernetes, the client commands, the system and the examples
    'CONFIG_FILE', 'EVENTBUS_TAG', 'EVENTBUS_TOKEN', 'EVENTBUS_URL', 'GRAFANA_PASSWORD', 'HTTPS_PROXY', 'POD_IP', 'PROMETHEUS_PORT',
    'GRAFANA_PORT', 'REDIS_MAXMEMORY', 'SSL_CERT_FILE', 'WEBHOOK_SECRET',
  ]);

  for (const page of pages.filter(({ name }) => name !== 'publisher/node/README.md' && name !== 'deploy/helm/event-bus/README.md')) {
    test(page.name, () => {
      const sections = new Set(keys.map((key) => key.split('.')[0]));
      const wrong = [];
      for (const span of spans(page)) {
        const [, key] = span.match(/^([a-z]+(?:\.[a-z][a-zA-Z]*)+)(?::|$)/) ?? [];
        if (key && sections.has(key.split('.')[0]) && !/\.(md|json|yaml|go|event)$/.test(key)
          && !keys.some((known) => known === key || known.startsWith(`${key}.`))) wrong.push(`${key} is no setting`);
        for (const name of span.match(/(?<![\w$:{])[A-Z]{2,}(?:_[A-Z0-9]+)+\b/g) ?? []) {
          if (!variables.has(name) && !OTHERS.has(name) && !page.name.startsWith('docs/configuration')
            && !/^(EVENT|BATCH|NOT|ABORT)_/.test(name)) wrong.push(`${name} is no variable`);
        }
      }
      none(wrong);
    });
  }
});

describe('metrics', () => {
  const known = new Set([...text('docs/metrics.md').matchAll(/^\| `(eventbus_\w+)`/gm)].map((m) => m[1]));

  for (const page of pages) {
    test(page.name, () => {
      none([...text(page.name).matchAll(/\beventbus_[a-z_]*[a-z]\b/g)].map((m) => m[0])
        .filter((name) => !known.has(name) && !known.has(name.replace(/_(bucket|sum|count)$/, ''))));
    });
  }
});

describe('configuration files', () => {
  let folder;
  before(async () => { folder = await mkdtemp(join(tmpdir(), 'eventbus-docs-')); });
  after(() => rm(folder, { recursive: true, force: true }));

  /** Resolves with what check-config has to say against a file, nothing if it is good. */
  async function check(file) {
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, JWT_SECRET: 'a-secret-of-32-bytes-or-more-here' };
    return run(BINARY, ['check-config', '--config-file', file], { env }).then(() => '', (error) => error.stderr);
  }

  blocks('yaml', ['docs/events.md']).forEach(({ code }, i) => {
    test(`example ${i + 1} of docs/events.md: ${code.split('\n').slice(0, 3).join(' ').replaceAll(/\s+/g, ' ')}`, async () => {
      const file = join(folder, `example-${i}.yaml`);
      await writeFile(file, `redis: {host: redis}\n${code}\n`);
      assert.equal(await check(file), '');
      await writeFile(file, `redis: {host: redis}\nfliters: []\n${code}\n`);
      assert.match(await check(file), /fliters: is not known/); // it is looked at
    });
  });

  test('deploy/event-bus.yaml', async () => {
    assert.equal(await check(join(ROOT, 'deploy/event-bus.yaml')), '');
  });

  test('deploy/event-bus.yaml with its comments that are settings', async () => {
    const file = join(folder, 'all.yaml');
    await writeFile(file, text('deploy/event-bus.yaml').replaceAll(/^( *)# (?!example)((?: *- )?\w+: *[^\s].*|\w+:| {2,}\w+: .*)$/gm, '$1$2'));
    assert.equal(await check(file), '');
    assert.match(readFileSync(file, 'utf8'), /^subscriptions:\n {2}- id: /m);
  });
});

describe('the API', () => {
  const { paths } = JSON.parse(text('web/openapi.json'));
  const operations = Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods)
    .filter((method) => ['get', 'put', 'post', 'delete', 'patch'].includes(method))
    .map((method) => ({ method: method.toUpperCase(), path })));
  const match = (path) => new RegExp(`^${path.replaceAll(/[.+]/g, '\\$&').replaceAll(/\{\w+\}/g, '[^/]+')}$`);
  const exists = (method, path) => operations.some((o) => o.method === method && (o.path === path || match(o.path).test(path)));

  test('docs/api.md has each call once, and no other', () => {
    const listed = [...text('docs/api.md').matchAll(/^\| `([A-Z]+ [^`]+)` \|/gm)].map((m) => m[1]);
    assert.deepEqual(listed.sort(), operations.map(({ method, path }) => `${method} ${path}`).sort());
  });

  /** Reads a curl command: { method, path, headers, body }. */
  function parseCurl(line) {
    const args = [...line.matchAll(/(?:'[^']*'|"[^"]*"|[^\s'"])+/gs)].map(([arg]) => arg.replaceAll(/^['"]|['"]$/g, ''));
    const call = { headers: {}, method: undefined, body: undefined };
    for (let i = args.indexOf('curl') + 1; i < args.length; i += 1) {
      if (args[i] === '-X') call.method = args[i += 1];
      else if (args[i] === '-d') call.body = args[i += 1];
      else if (args[i] === '-H') {
        const [name, value] = args[i += 1].split(/: (.*)/s);
        call.headers[name] = value;
      } else if (args[i] === '-o') i += 1;
      else if (args[i].startsWith('http')) call.url = new URL(args[i]);
      else throw new Error(`${line}: what is ${args[i]}?`);
    }
    call.method ??= call.body ? 'POST' : 'GET';
    return call;
  }

  const curls = (code) => code.replaceAll(/\\\n/g, ' ').split(/^(?=curl )/m).filter((part) => part.includes('curl '))
    .map((part) => part.trim());

  for (const page of pages) {
    test(`calls in ${page.name}`, () => {
      const wrong = [];
      const shown = [...page.blocks.map((b) => b.lines.join('\n')), page.prose].join('\n');
      for (const [, method, path] of shown.matchAll(/`(GET|PUT|POST|DELETE) (\/[^`?\s]*)/g)) {
        if (!exists(method, path) && !/^\/socket\.io|^\/demo/.test(path)) wrong.push(`${method} ${path}`);
      }
      for (const { code } of [...blocks('sh', [page.name]), ...blocks('indented', [page.name])]) {
        for (const line of curls(code).flatMap((c) => (code.includes("-d '") ? [c] : c.split('\n').filter((l) => l.includes('curl '))))) {
          const { method, url } = parseCurl(line.slice(line.indexOf('curl ')).split(/\n(?!\s)/)[0]);
          if (!exists(method, url.pathname)) wrong.push(line);
        }
      }
      none(wrong);
    });
  }

  test('every curl in a block of sh is answered as it should be', async (t) => {
    const { server } = await startAlone(t);
    const bearer = `Bearer ${token({ userId: 'ops', roles: ['admin'] })}`;
    let called = 0;
    for (const { page, code } of blocks('sh')) {
      for (const line of curls(code)) {
        const { method, url, headers, body } = parseCurl(line);
        assert.equal(headers.Authorization, 'Bearer $TOKEN', line);
        const to = `http://${server.addresses.health}${url.pathname}${url.search}`;
        const answer = await fetch(to, { method, body, headers: { ...headers, Authorization: bearer, connection: 'close' } });
        assert.ok(answer.ok, `${page}: ${line}\n${answer.status} ${await answer.text()}`);
        called += 1;
      }
    }
    assert.ok(called >= 6, `only ${called} were found`);
  });
});

describe('snippets', () => {
  let folder;
  before(async () => { folder = await mkdtemp(join(tmpdir(), 'eventbus-docs-')); });
  after(() => rm(folder, { recursive: true, force: true }));

  blocks('js').forEach(({ page, code }, i) => {
    test(`JavaScript in ${page}, ${code.split('\n')[0]}`, async () => {
      const file = join(folder, `snippet-${i}.${code.includes('require(') ? 'cjs' : 'mjs'}`);
      await writeFile(file, code);
      await run(process.execPath, ['--check', file]);
    });
  });

  blocks('json').forEach(({ page, code }) => {
    test(`JSON in ${page}, ${code.split('\n')[1]}`, () => JSON.parse(code));
  });

  blocks('go').forEach(({ page, code }) => {
    test(`Go in ${page}, ${code.split('\n')[0]}`, async () => {
      const gofmt = run('gofmt', ['-e']);
      gofmt.child.stdin.end(code);
      const { stdout } = await gofmt;
      assert.equal(stdout.trim(), code.trim());
    });
  });

  test('the webhook receiver tells what is genuine', async (t) => {
    const [{ code }] = blocks('js', ['docs/events.md']).filter((b) => b.code.includes('webhook-signature'));
    const file = join(folder, 'receiver.mjs');
    await writeFile(file, code.replace('listen(8080)', "listen(0, '127.0.0.1', function () { console.log(this.address().port); })"));
    const secret = 'a-secret-of-16-bytes-or-more';
    const child = execFile(process.execPath, [file], { env: { PATH: process.env.PATH, WEBHOOK_SECRET: secret } });
    t.after(() => child.kill());
    const port = await new Promise((found, failed) => {
      child.stdout.once('data', (data) => found(String(data).trim()));
      child.once('exit', () => failed(new Error('the receiver ended')));
    });
    const { createHmac } = await import('node:crypto');
    const body = '{"id":"e1", "type":"photo.deleted","data":{}}';
    const post = async (key, at, sent = body) => {
      const signature = createHmac('sha256', key).update(`hook:e1.${at}.${body}`).digest('base64');
      const headers = { 'webhook-id': 'hook:e1', 'webhook-timestamp': String(at), 'webhook-signature': `v1,${signature}`, connection: 'close' };
      return (await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body: sent, headers })).status;
    };
    const now = Math.floor(Date.now() / 1000);
    assert.equal(await post(secret, now), 204);
    assert.equal(await post('another-secret-of-16-bytes', now), 401);
    assert.equal(await post(secret, now, `${body} `), 401);
    assert.equal(await post(secret, now - 3600), 401);
    assert.equal((await fetch(`http://127.0.0.1:${port}`, { method: 'POST', body })).status, 401);
  });

  const tsc = join(ROOT, 'test/types/node_modules/.bin/tsc');
  test('TypeScript compiles', { skip: !existsSync(tsc) && 'npm packages of test/types are not installed' }, async () => {
    const project = await mkdtemp(join(ROOT, 'test/types/.docs-')); // there it finds socket.io-client
    try {
      const files = [];
      for (const [i, { code }] of blocks('ts', ['docs/frontend.md']).entries()) {
        files.push(`snippet-${i}.ts`);
        await writeFile(join(project, files.at(-1)), code);
      }
      assert.ok(files.length > 0);
      const compilerOptions = {
        target: 'ES2022', module: 'ESNext', moduleResolution: 'Bundler', lib: ['ES2022', 'DOM'], types: [], strict: true, noEmit: true,
        paths: { '@photo-management/event-bus/events': ['../../../publisher/node/events.d.ts'] },
      };
      await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files }));
      await run(tsc, ['-p', project]).catch((error) => assert.fail(error.stdout || error.message));
    } finally {
      await rm(project, { recursive: true });
    }
  });
});

test('docs/events.md has each type with its channel, and the default rules', () => {
  const page = text('docs/events.md');
  const node = text('publisher/node/events.d.ts');
  for (const [, channel, types] of node.matchAll(/Events of ([a-z]+:[a-z]+): ([a-z., ]+)\. The offset/g)) {
    for (const type of types.split(', ')) assert.ok(page.includes(`| \`${type}\` | \`${channel}\` |`), `${type} on ${channel}`);
  }
  const types = readdirSync(join(ROOT, 'events/schemas')).map((name) => name.replace(/\.json$/, '')).filter((name) => name !== 'envelope');
  for (const type of types) assert.ok(page.includes(`| \`${type}\` |`), type);
  for (const [channel, [{ rules }]] of Object.entries(JSON.parse(text('routing/default.json')))) {
    const rooms = rules.map((r) => `\`${r.type === 'client' ? 'client:' : r.targetPrefix}<${r.selector}>\``).join(', ');
    for (const name of ['docs/events.md', 'README.md']) {
      assert.ok(text(name).includes(`| \`${channel}\` | \`${rules[0].eventName}\` | ${rooms} |`), `${channel} in ${name}`);
    }
  }
});

test('pages are there', () => {
  for (const name of ['events', 'frontend', 'publishers', 'operators', 'migrating', 'architecture', 'api']) {
    assert.ok(statSync(join(ROOT, `docs/${name}.md`)).size > 1000, name);
  }
});
