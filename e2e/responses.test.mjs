// OpenAI's Responses API by WebSocket, which Codex tries before HTTP.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import OpenAI from 'openai'
import { ResponsesWS } from 'openai/resources/responses/ws'
import { WebSocket } from 'ws'
import { startRelay } from './relay.mjs'

const relay = await startRelay('openai', {
  answer() { throw new Error('not played') },
  converse(socket, call) {
    assert.equal(call.path, '/v1/responses')
    socket.on('message', (data) => {
      const { type, model, input } = JSON.parse(data)
      assert.equal(type, 'response.create')
      const output = [{ type: 'message', id: 'm', role: 'assistant', content: [{ type: 'output_text', text: `${model} heard ${input}`, annotations: [] }] }]
      socket.send(JSON.stringify({ type: 'response.completed', response: { id: 'r', object: 'response', status: 'completed', output } }))
    })
  },
})

const connect = (token) => new ResponsesWS(new OpenAI({ baseURL: `${relay.url}/v1`, apiKey: token }))

// ask asks for a response. It resolves to the text, or to why the connection was closed.
function ask(session, model, input) {
  return new Promise((resolve, reject) => {
    session.on('response.completed', ({ response }) => resolve(response.output[0].content[0].text))
    session.on('close', (code, reason) => resolve(`${code} ${reason}`))
    session.on('error', (err) => reject(err))
    session.send({ type: 'response.create', model, input })
  })
}

test('two responses on one connection', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const session = connect(token)
  assert.equal(await ask(session, 'gpt-x', 'one'), 'gpt-x heard one')
  const second = session.emitted('response.completed')
  session.send({ type: 'response.create', model: 'gpt-y', input: 'two' })
  assert.equal((await second).response.output[0].content[0].text, 'gpt-y heard two')
  session.close()
})

test('each response is held against the models of the token', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint({ allow: { models: ['gpt-x'] } })
  const session = connect(token)
  assert.equal(await ask(session, 'gpt-x', 'one'), 'gpt-x heard one')
  const closed = once(session.socket, 'close')
  const sent = relay.calls.at(-1).received
  session.send({ type: 'response.create', model: 'gpt-y', input: 'two' })
  await closed
  assert.equal(relay.calls.at(-1).received, sent, 'the provider heard of another model')
})

test('where no upgrade is open the answer is 426, so that clients fall back at once', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const socket = new WebSocket(`${relay.url.replace('http', 'ws')}/v1/chat/completions`, { headers: { authorization: `Bearer ${token}` } })
  const [, res] = await once(socket, 'unexpected-response')
  assert.equal(res.statusCode, 426)
  res.resume()
})

test('without an upgrade GET /v1/responses stays closed', async () => {
  const { token } = await relay.mint()
  const before = relay.calls.length
  const res = await fetch(`${relay.url}/v1/responses`, { headers: { authorization: `Bearer ${token}` } })
  assert.ok(res.status >= 400 && res.status < 500, `${res.status}`)
  assert.equal(relay.calls.length, before)
})

test('no secret is where it must not be', () => relay.stopClean())
