// examples/receiver.mjs, which verifies warnings with the package standardwebhooks.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { json } from './provider.mjs'
import { freePorts, startRelay } from './relay.mjs'

const NOTIFY_SECRET = `whsec_${randomBytes(32).toString('base64')}`
const [PORT] = await freePorts(1)
const dir = await mkdtemp(join(tmpdir(), 'notify-e2e-'))
await writeFile(join(dir, 'secret'), NOTIFY_SECRET)

// startReceiver runs the example where it finds its package.
async function startReceiver() {
  const cache = fileURLToPath(new URL('node_modules/.cache/', import.meta.url))
  await mkdir(cache, { recursive: true })
  await copyFile(new URL('../examples/receiver.mjs', import.meta.url), `${cache}receiver.mjs`)
  const child = spawn(process.execPath, [`${cache}receiver.mjs`], { env: { NOTIFY_SECRET, PORT }, stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = once(child, 'close')
  after(async () => {
    child.kill()
    await closed
    await rm(dir, { recursive: true, force: true })
  })
  return createInterface(child.stdout)[Symbol.asyncIterator]()
}

const lines = await startReceiver()
const relay = await startRelay('openai', { answer: (call, res) => json(res, { object: 'list', data: [] }) },
  { global: `notify http://127.0.0.1:${PORT}/ {\nsecret {file.${dir}/secret}\n}` })

test('a receiver with standardwebhooks reads the warnings', async () => {
  const { token, id } = await relay.mint({ limits: { calls: 5 } })
  for (let n = 0; n < 5; n++) {
    const res = await fetch(`${relay.url}/v1/models`, { headers: { 'x-api-token': token } })
    assert.equal(res.status, 200)
  }
  for (const threshold of [80, 100]) {
    assert.equal((await lines.next()).value, `${threshold} % of 5 calls: token ${id}`)
  }
})

test('it refuses a warning that somebody else has signed', async () => {
  const headers = { 'webhook-id': 'msg_1', 'webhook-timestamp': `${Math.floor(Date.now() / 1000)}`, 'webhook-signature': 'v1,AAAA' }
  const res = await fetch(`http://127.0.0.1:${PORT}/`, { method: 'POST', headers, body: '{}' })
  assert.equal(res.status, 400)
})

test('no secret shows', () => relay.stopClean())
