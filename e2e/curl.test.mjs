import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { json, stream } from './provider.mjs'
import { startRelay } from './relay.mjs'

let paced // sends the next event of the stream that is in flight

const relay = await startRelay('openai', {
  answer(call, res) {
    switch (call.path) {
      case '/v1/chat/completions': {
        const { stream: streaming, say } = JSON.parse(call.body)
        if (!streaming) return json(res, { heard: say })
        const send = stream(res)
        paced = (data) => (data === undefined ? res.end() : send(data))
        return paced('first')
      }
      case '/v1/audio/transcriptions':
        return json(res, { sha256: sha256(call.body), length: call.body.length, encoding: call.headers['transfer-encoding'] })
    }
    throw new Error('not played')
  },
})

const sha256 = (data) => createHash('sha256').update(data).digest('hex')

function curl(token, path, ...args) {
  const child = spawn('curl', ['-sS', '--max-time', '60', ...args, '-H', `Authorization: Bearer ${token}`, relay.url + path])
  child.stderr.pipe(process.stderr)
  return child
}

test('a plain call', async () => {
  const { token } = await relay.mint()
  assert.deepEqual(JSON.parse(await text(curl(token, '/v1/chat/completions', '-d', '{"say": "Hello"}').stdout)), { heard: 'Hello' })
})

test('the token in every place that a header has for it', async () => {
  const { token } = await relay.mint()
  for (const name of ['X-API-Token', 'X-API-Key', 'X-Goog-Api-Key', 'API-Key']) {
    const child = spawn('curl', ['-sS', '-d', '{"say": "Hello"}', '-H', `${name}: ${token}`, `${relay.url}/v1/chat/completions`])
    assert.deepEqual(JSON.parse(await text(child.stdout)), { heard: 'Hello' }, name)
  }
  const child = spawn('curl', ['-sS', '-d', '{"say": "Hello"}', `${relay.url}/v1/chat/completions?key=${token}`])
  assert.deepEqual(JSON.parse(await text(child.stdout)), { heard: 'Hello' }, 'the query')
})

test('a stream: each event comes before the next one is sent', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const { stdout } = curl(token, '/v1/chat/completions', '-N', '-d', '{"stream": true}')
  for (const next of ['second', 'third', undefined]) {
    const [chunk] = await once(stdout, 'data')
    assert.equal(String(chunk), `data: ${{ second: 'first', third: 'second' }[next] ?? 'third'}\n\n`)
    paced(next)
  }
  await once(stdout.resume(), 'end')
})

test('50 MB of unknown length arrive as they were sent', { timeout: 60_000 }, async () => {
  const { token } = await relay.mint()
  const data = Buffer.alloc(50_000_000)
  for (let i = 0, x = 1; i < data.length; i += 4) data.writeUInt32LE(x = Math.imul(x, 1664525) + 1013904223 >>> 0, i)
  const child = curl(token, '/v1/audio/transcriptions', '-H', 'Transfer-Encoding: chunked', '-H', 'Content-Type: application/octet-stream', '--data-binary', '@-')
  child.stdin.end(data)
  assert.deepEqual(JSON.parse(await text(child.stdout)), { sha256: sha256(data), length: data.length, encoding: 'chunked' })
})

test('a revoked token is refused in words', async () => {
  const minted = await relay.mint()
  await relay.revoke(minted)
  const { error } = JSON.parse(await text(curl(minted.token, '/v1/chat/completions', '-d', '{}').stdout))
  assert.equal(error.code, 'token_revoked')
  assert.match(error.message, /^The relay token was revoked\./)
})

test('no secret is where it must not be', () => relay.stopClean())
