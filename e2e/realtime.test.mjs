// OpenAI's Realtime API by WebSocket, as servers and as browsers connect to it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { json } from 'node:stream/consumers'
import { test } from 'node:test'
import OpenAI from 'openai'
import { OpenAIRealtimeWS } from 'openai/realtime/ws'
import { WebSocket } from 'ws'
import { onCDN, startBrowser } from './browser.mjs'
import { startRelay } from './relay.mjs'

const words = ['One', ', two', ', three']

// The provider sends each word when it is asked for. It chooses no subprotocol,
// except with the model that is named for it.
const relay = await startRelay('openai', {
  select: ({ query }) => query.get('model') === 'chooses-realtime' && 'realtime',
  converse(socket, call) {
    assert.equal(call.path, '/v1/realtime')
    const send = (event) => socket.send(JSON.stringify(event))
    const unsaid = words.values()
    send({ type: 'session.created' })
    socket.on('message', (data) => {
      assert.equal(JSON.parse(data).type, 'response.create')
      const { value: delta, done } = unsaid.next()
      send(done ? { type: 'response.done' } : { type: 'response.output_text.delta', delta })
    })
  },
})
const browser = await startBrowser()

// converse asks for all that the provider has to say. It also runs in pages.
async function converse(session) {
  const heard = []
  await new Promise((resolve, reject) => {
    const ask = () => session.send({ type: 'response.create' })
    session.on('session.created', ask)
    session.on('response.output_text.delta', ({ delta }) => {
      heard.push(delta)
      ask()
    })
    session.on('response.done', resolve)
    session.on('error', reject)
  })
  return heard
}

// connect opens a session as the SDK does on a server.
function connect(token) {
  const client = new OpenAI({ baseURL: `${relay.secureURL}/v1`, apiKey: token })
  return new OpenAIRealtimeWS({ model: 'gpt-x', options: { ca: relay.ca } }, client)
}

// offer opens a WebSocket with subprotocols.
const offer = (protocols) => new WebSocket(`${relay.secureURL}/v1/realtime?model=gpt-x`, protocols, { ca: relay.ca })

const secretProtocol = (token) => `openai-insecure-api-key.${token}`

test('a server: the token in a header', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const session = connect(token)
  assert.deepEqual(await converse(session), words)
  session.close()
  assert.equal(relay.calls.at(-1).headers['sec-websocket-protocol'], undefined)
})

for (const model of ['chooses-realtime', 'chooses-nothing']) {
  test(`a page: the token in a subprotocol, and a provider that ${model.replace('-', ' ')}`, { timeout: 20_000 }, async () => {
    const { token } = await relay.mint()
    const page = await browser.open(`${relay.origin}/health`) // any page
    await page.addScriptTag({ content: String(converse) })
    const talk = await page.evaluate(async ({ sdk, realtime, baseURL, apiKey, model }) => {
      const { default: OpenAI } = await import(sdk)
      const { OpenAIRealtimeWebSocket } = await import(realtime)
      const client = new OpenAI({ baseURL, apiKey, dangerouslyAllowBrowser: true })
      const session = new OpenAIRealtimeWebSocket({ model }, client)
      const heard = await converse(session)
      session.close()
      return { heard, protocol: session.socket.protocol }
    }, {
      sdk: await onCDN('openai', 'index.mjs'),
      realtime: await onCDN('openai', 'realtime/websocket.mjs'),
      baseURL: `${relay.secureURL}/v1`,
      apiKey: token,
      model,
    })
    assert.deepEqual(talk, { heard: words, protocol: 'realtime' })
    assert.equal(relay.calls.at(-1).headers['sec-websocket-protocol'], 'realtime')
    await page.close()
  })
}

test('a token as the only subprotocol is refused, and costs no call', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint({ limits: { calls: 1 } })
  const before = relay.calls.length
  const [, res] = await once(offer([secretProtocol(token)]), 'unexpected-response')
  assert.equal(res.statusCode, 400)
  assert.equal((await json(res)).error.code, 'invalid_request')
  assert.equal(relay.calls.length, before, 'the refused handshake reached the provider')
  const socket = offer(['realtime', secretProtocol(token)])
  await once(socket, 'open')
  socket.close()
})

test('a session ends when its token is revoked, and says why', { timeout: 10_000 }, async () => {
  const minted = await relay.mint()
  const session = connect(minted.token)
  await session.emitted('session.created')
  const closed = once(session.socket, 'close')
  await relay.revoke(minted)
  const [code, reason] = await closed
  assert.equal(code, 1008)
  assert.match(String(reason), /^token_revoked: The relay token was revoked\./)
})

test('no secret is where it must not be', () => relay.stopClean())
