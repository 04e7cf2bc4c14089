// Relays for tests: Caddy as it is built from this checkout, and behind it a
// provider on loopback (provider.mjs) that watches what reaches it.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join, relative } from 'node:path'
import { after } from 'node:test'
import { fileURLToPath } from 'node:url'
import { places, Secrets, startProvider } from './provider.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

// startRelay starts a relay in front of one provider, which does what play says.
// lines are added to the provider's block, to the global option and to the directive.
export async function startRelay(preset, play, lines = {}) {
  const relay = await start(preset, play, ['provider.key'], ({ options, provider, ports: [port, securePort] }) => {
    const origin = `http://127.0.0.1:${port}`
    return {
      origin,
      url: `${origin}/api/${preset}`, // where an SDK's base URL starts
      secureURL: `https://localhost:${securePort}/api/${preset}`, // for clients that insist on TLS
      status: `${origin}/token`,
      files: {
        Caddyfile: `{
${options}
	skip_install_trust
	auto_https disable_redirects
	relayapi {
		${lines.global ?? ''}
		provider ${preset} ${provider} {
			api_key {file.provider.key}
			${lines.provider ?? ''}
		}
	}
}
${origin}, https://localhost:${securePort} {
	tls internal
	log
	relayapi {
		prefix /api
		health /health
		token_status /token
		${lines.directive ?? ''}
	}
}`,
      },
    }
  })
  return {
    ...relay,
    ca: await readFile(join(relay.dir, 'data/caddy/pki/authorities/local/root.crt')),
    mint: (claims) => relay.mint({ provider: preset, ...claims }),
  }
}

// startBare starts Caddy's own reverse_proxy in front of the provider of a relay. Whatever
// key its clients have, it sends the real one.
export async function startBare({ preset, provider, key }) {
  const dir = await mkdtemp(join(tmpdir(), 'bare-e2e-'))
  const [port] = await freePorts(1)
  const [place, prefix] = places[preset]
  const origin = `http://127.0.0.1:${port}`
  await writeFile(join(dir, 'Caddyfile'), `{
	admin off
	persist_config off
	default_bind 127.0.0.1
	grace_period 1s
	log {
		output discard
	}
}
${origin} {
	handle /health {
		respond 200
	}
	reverse_proxy ${provider} {
		${place === 'authorization' ? '' : 'header_up -Authorization'}
		header_up ${place} "${prefix}${key}"
	}
}`)
  const caddy = startCaddy(dir)
  after(async () => {
    await caddy.kill()
    await rm(dir, { recursive: true, force: true })
  })
  await until('Caddy is up', async () => (await fetch(`${origin}/health`)).ok)
  return { url: origin, token: 'none' }
}

// startExample runs examples/Caddyfile as it is but for its ports, its secrets
// and what edit changes. With a play, that is its provider instead of its own.
export async function startExample(play, edit = (caddyfile) => caddyfile) {
  const keyFiles = ['examples/demo.key', 'examples/mint.secret']
  return start('openai', play ?? {}, keyFiles, async (given) => {
    const read = readerOf(given)
    const page = ['examples/browser/index.html', 'examples/browser/chat.js']
    return {
      origin: `http://localhost:${given.ports[0]}`,
      page: `http://localhost:${given.ports[1]}/`,
      status: `http://localhost:${given.ports[0]}/status`,
      files: {
        ...Object.fromEntries(await Promise.all(page.map(async (file) => [file, await read(file)]))),
        Caddyfile: adapted(edit(await read('examples/Caddyfile')), given, play),
      },
    }
  })
}

// startLoginExample runs examples/login as it is but for its ports, its key, how long its tokens live,
// and that its users may exchange theirs at /mint. With a play, that is the provider of the model
// instead of its own.
export async function startLoginExample(play, life = '5m') {
  return start('openai', play ?? {}, ['examples/demo.key'], async (given) => {
    const [port, pagePort, , loginPort] = given.ports
    const read = readerOf(given)
    const page = `http://localhost:${pagePort}/`
    await startLogin(`127.0.0.1:${loginPort}`, page, life)
    return {
      origin: `http://localhost:${port}`,
      page,
      login: `http://127.0.0.1:${loginPort}`,
      health: `http://localhost:${port}/api/demo/v1/models`, // which wants a token
      files: {
        'examples/login/index.html': await read('examples/login/index.html'),
        Caddyfile: adapted(await read('examples/login/Caddyfile'), given, play)
          .replace('providers demo', `providers demo\n\t\t\torigins ${page.slice(0, -1)}`).replace('prefix /api', 'prefix /api\n\t\tmint /mint'),
      },
    }
  })
}

// startLogin runs the login of examples/login until the tests are over.
async function startLogin(listen, page, life) {
  const child = spawn(build('./examples/login'), ['-listen', listen, '-page', page, '-life', life], { stdio: 'inherit' })
  const closed = once(child, 'close')
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  after(async () => {
    kill()
    await closed
    process.off('exit', kill)
  })
  await until('the login is up', async () => (await fetch(`http://${listen}/keys`)).ok)
}

// readerOf returns what reads a file of the examples, with other ports.
const readerOf = ({ ports }) => async (file) => [8080, 8081, 9000, 9001].reduce(
  (text, port, i) => text.replaceAll(`:${port}`, `:${ports[i]}`), await readFile(join(root, file), 'utf8'))

// adapted returns the Caddyfile of an example with options, and with another provider if there is a
// play. The provider's address stands there first, then that of its site.
const adapted = (caddyfile, { options, provider, ports }, play) =>
  caddyfile.replace(/^{$/m, `{\n${options}`).replace(`http://127.0.0.1:${ports[2]}`, play ? provider : '$&')

// start starts a provider and, in a directory of its own, Caddy. keyFiles are
// those with secrets, the provider's key first. lay tells the rest of what is
// there: the relay's origin, where it tells of a token (status), the other files,
// and whatever tests want to know.
async function start(preset, play, keyFiles, lay) {
  const dir = await mkdtemp(join(tmpdir(), 'relay-e2e-'))
  const keys = keyFiles.map((file) => [file, `sk-real-${randomBytes(24).toString('hex')}`])
  const secrets = new Secrets()
  for (const [, key] of keys) secrets.add(key)
  const provider = await startProvider(preset, keys[0][1], secrets, play)
  const [adminPort, ...ports] = await freePorts(5)
  const options = `	debug
	admin 127.0.0.1:${adminPort}
	default_bind 127.0.0.1
	grace_period 1s`
  const { files, status, ...places } = await lay({ options, provider: provider.url, ports })
  for (const [file, content] of [...keys, ...Object.entries(files)]) {
    await mkdir(dirname(join(dir, file)), { recursive: true })
    await writeFile(join(dir, file), content)
  }
  const caddy = startCaddy(dir)
  after(async () => { // what a test that fails leaves behind
    await caddy.kill()
    await provider.stop()
    await rm(dir, { recursive: true, force: true })
  })
  const told = async (token) => (await fetch(status, { headers: { 'x-api-token': token } })).json()
  await until('the relay is up', async () => (await fetch(places.health ?? `${places.origin}/health`)).status < 500)

  // admin speaks to Caddy's admin endpoint, which takes fetch for a browser and
  // so wants an Origin.
  async function admin(method, path, body, headers) {
    const origin = `http://127.0.0.1:${adminPort}`
    const res = await fetch(origin + path, { method, headers: { origin, ...headers }, body })
    assert.equal(res.status, 200, `${method} ${path}: ${res.status}`)
    return res
  }

  return {
    ...places,
    dir,
    preset,
    provider: provider.url,
    key: keys[0][1],
    calls: provider.calls,
    log: caddy.log,
    hide: (secret) => secrets.add(secret),

    async mint(claims) {
      const minted = await (await admin('POST', '/relayapi/tokens', JSON.stringify(claims))).json()
      secrets.add(minted.token)
      return minted
    },
    // reload does what `caddy reload --force` does.
    reload: async () => admin('POST', '/load', await readFile(join(dir, 'Caddyfile')),
      { 'content-type': 'text/caddyfile', 'cache-control': 'must-revalidate' }),
    revokeSubject: (issuer, subject) => admin('POST', '/relayapi/revocations', JSON.stringify({ scope: 'subject', issuer, subject })),
    revoke: ({ issuer, id }) => admin('DELETE', `/relayapi/tokens/${issuer}/${id}`),
    // change changes a token's limits, and limit sets one of the operator's.
    change: async ({ issuer, id }, change) => (await admin('PATCH', `/relayapi/tokens/${issuer}/${id}`, JSON.stringify(change))).json(),
    limit: async (limit) => (await admin('PUT', '/relayapi/limits', JSON.stringify(limit))).json(),
    // used returns what a token has used once all its calls have been settled, and counted what is
    // charged to its own limits.
    async used({ issuer, id }, calls = 1) {
      let row
      await until(`${calls} calls of the token are settled`, async () => {
        const { usage } = await (await admin('GET', '/relayapi/usage?by=token')).json()
        row = usage.find((row) => row.issuer === issuer && row.token === id)
        return row && row.succeeded + row.client_errors + row.provider_errors === calls
      })
      const { usd_counted, tokens_counted } = await (await admin('GET', `/relayapi/tokens/${issuer}/${id}`)).json()
      return { ...row, usd_counted, tokens_counted }
    },
    expired: ({ token }) => until('the token has expired', async () => (await told(token)).error?.code === 'token_expired'),

    // stopClean stops everything and fails if a secret is anywhere it must not be.
    async stopClean() {
      await caddy.stop()
      assert.deepEqual(await provider.stop(), [])
      assertSecretFree(caddy.log(), secrets)
      for (const file of await readdir(dir, { recursive: true, withFileTypes: true })) {
        const path = join(file.parentPath, file.name)
        if (!file.isFile() || keyFiles.includes(relative(dir, path))) continue
        assert.ok(!secrets.in(await readFile(path, 'latin1')), `a piece of a secret is in ${file.name}`)
      }
    },
  }
}

// assertSecretFree looks through Caddy's log, which must be one at DEBUG.
function assertSecretFree(log, secrets) {
  assert.match(log, /"level":"debug"/, 'the log is not at DEBUG')
  for (const line of log.split('\n').filter((line) => secrets.in(line))) {
    const { logger, msg } = JSON.parse(line)
    assert.fail(`a piece of a secret is in Caddy's log: ${logger} said ${JSON.stringify(msg)}`)
  }
}

// startCaddy runs the Caddyfile in dir. Whatever Caddy writes stays there.
function startCaddy(dir) {
  const child = spawn(binary(), ['run'], {
    cwd: dir,
    env: { PATH: process.env.PATH, HOME: dir, XDG_DATA_HOME: join(dir, 'data'), XDG_CONFIG_HOME: join(dir, 'config') },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text) => { log += text })
  const closed = once(child, 'close')
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  child.once('close', (code) => {
    process.off('exit', kill)
    if (code) console.error(log)
  })
  return {
    log: () => log,
    async kill() {
      kill()
      await closed
    },
    async stop() {
      child.kill()
      assert.deepEqual(await closed, [0, null], 'Caddy did not end by itself')
    },
  }
}

// binary is the Caddy that RELAY_CADDY names, or one built now.
export const binary = () => process.env.RELAY_CADDY ?? build('./cmd/caddy')

const built = new Map()
// build builds a command of this checkout, once.
function build(command) {
  if (!built.has(command)) {
    const file = fileURLToPath(new URL(`node_modules/.cache/${basename(command)}-${process.pid}`, import.meta.url))
    execFileSync('go', ['build', '-o', file, command], { cwd: root, stdio: 'inherit' })
    process.once('exit', () => execFileSync('rm', ['-f', file]))
    built.set(command, file)
  }
  return built.get(command)
}

// freePorts finds ports that were free a moment ago.
export async function freePorts(n) {
  const servers = await Promise.all(Array.from({ length: n }, () =>
    new Promise((resolve) => { const s = createServer().listen(0, '127.0.0.1', () => resolve(s)) })))
  const ports = servers.map((s) => s.address().port)
  await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))))
  return ports
}

// until waits for a condition that has no event; errors count as «not yet».
export async function until(what, condition, seconds = 20) {
  const deadline = Date.now() + seconds * 1000
  for (let last; ;) {
    try {
      if (await condition()) return
    } catch (err) {
      last = err
    }
    assert.ok(Date.now() < deadline, `not within ${seconds} s: ${what}${last ? ` (${last})` : ''}`)
    await new Promise((resolve) => setTimeout(resolve, 25))
  }
}

// inSeconds is a time for exp.
export const inSeconds = (n) => Math.floor(Date.now() / 1000) + n
