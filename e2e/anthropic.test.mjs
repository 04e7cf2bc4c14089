import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { test } from 'node:test'
import Anthropic, { APIUserAbortError, AuthenticationError } from '@anthropic-ai/sdk'
import { json, stream } from './provider.mjs'
import { inSeconds, startRelay } from './relay.mjs'

const question = { model: 'claude-x', max_tokens: 100, messages: [{ role: 'user', content: 'Hello' }] }
const words = ['One', ', two', ', three']
const reader = new EventEmitter() // «read»: the client has what was sent
let left // the end of the stream that does not end by itself

const relay = await startRelay('anthropic', {
  async answer(call, res) {
    if (call.path === '/v1/messages/count_tokens') return json(res, { input_tokens: 7 })
    if (call.path === '/v1/models') {
      const data = ['claude-x', 'claude-y', 'claude-z'].map((id) => ({ type: 'model', id, display_name: id, created_at: '2026-01-01T00:00:00Z' }))
      return json(res, { data, has_more: false, first_id: 'claude-x', last_id: 'claude-z' })
    }
    const asked = JSON.parse(call.body)
    assert.equal(call.path, '/v1/messages')
    assert.ok(call.headers['anthropic-version'])
    const message = { id: 'm', type: 'message', role: 'assistant', model: asked.model, usage: { input_tokens: 7, output_tokens: 3 } }
    if (!asked.stream) {
      return json(res, { ...message, content: [{ type: 'text', text: `heard ${hear(asked.messages[0].content)}` }], stop_reason: 'end_turn' })
    }
    const send = stream(res, true)
    const say = (text) => send({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })
    send({ type: 'message_start', message: { ...message, content: [], stop_reason: null } })
    send({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } })
    if (asked.model === 'endless') {
      left = once(res, 'close')
      return say('One')
    }
    for (const word of words) {
      say(word)
      await once(reader, 'read')
    }
    send({ type: 'content_block_stop', index: 0 })
    send({ type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 3 } })
    send({ type: 'message_stop' })
    res.end()
  },
}, { directive: 'on_disconnect cancel' })

const hear = (content) => (typeof content === 'string' ? content : content[0].source.data === image ? 'an image' : 'noise')
const image = Buffer.from({ length: 3_000_000 }, (_, i) => i * 7 % 251).toString('base64')

const client = (token) => new Anthropic({ baseURL: relay.url, apiKey: token })

test('a message', async () => {
  const { token } = await relay.mint()
  const { content: [{ text }] } = await client(token).messages.create(question)
  assert.equal(text, 'heard Hello')
})

test('a message, with the token as a bearer', async () => {
  const { token } = await relay.mint()
  const { content: [{ text }] } = await new Anthropic({ baseURL: relay.url, authToken: token, apiKey: null }).messages.create(question)
  assert.equal(text, 'heard Hello')
})

test('an upload: an image of 3 MB in a message', async () => {
  const { token } = await relay.mint()
  const content = [{ type: 'image', source: { type: 'base64', media_type: 'image/png', data: image } }]
  const message = await client(token).messages.create({ ...question, messages: [{ role: 'user', content }] })
  assert.equal(message.content[0].text, 'heard an image')
})

test('a stream: each piece comes before the next one is sent', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const heard = []
  const running = client(token).messages.stream(question).on('text', (text) => {
    heard.push(text)
    reader.emit('read')
  })
  assert.equal(await running.finalText(), words.join(''))
  assert.deepEqual(heard, words)
})

test('who leaves in mid-stream leaves the provider too', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const running = client(token).messages.stream({ ...question, model: 'endless' })
  const heard = []
  running.on('text', (text) => {
    heard.push(text)
    running.abort()
  })
  await assert.rejects(running.done(), APIUserAbortError)
  assert.deepEqual(heard, ['One'])
  await left
})

test('a token that is revoked in mid-stream: the SDK throws what the relay says', { timeout: 10_000 }, async () => {
  const minted = await relay.mint()
  const running = client(minted.token).messages.stream({ ...question, model: 'endless' })
  const heard = []
  running.on('text', (text) => {
    heard.push(text)
    relay.revoke(minted)
  })
  await assert.rejects(running.done(), /The relay token was revoked\./)
  assert.deepEqual(heard, ['One'])
  await left
})

test('counting tokens', async () => {
  const { token } = await relay.mint()
  const { max_tokens, ...asked } = question
  assert.equal((await client(token).messages.countTokens(asked)).input_tokens, 7)
})

test('the list of models has those that the token permits', async () => {
  const list = async (claims) => {
    const { token } = await relay.mint(claims)
    const ids = []
    for await (const { id } of client(token).models.list()) ids.push(id)
    return ids
  }
  assert.deepEqual(await list({}), ['claude-x', 'claude-y', 'claude-z'])
  assert.deepEqual(await list({ allow: { models: ['claude-x', 'claude-z'] } }), ['claude-x', 'claude-z'])
  assert.deepEqual(await list({ set: { model: 'claude-y' } }), ['claude-y'])
})

test('an expired token is refused in words, and before the provider hears of it', async () => {
  const minted = await relay.mint({ exp: inSeconds(2) })
  await relay.expired(minted)
  const before = relay.calls.length
  await assert.rejects(client(minted.token).messages.create(question), (err) => {
    assert.ok(err instanceof AuthenticationError)
    assert.match(err.message, /The relay token has expired\./)
    assert.equal(err.error.error.code, 'token_expired')
    return true
  })
  assert.equal(relay.calls.length, before)
})

test('a path outside the grant is refused in words', async () => {
  const { token } = await relay.mint()
  await assert.rejects(client(token).messages.batches.list(), (err) => {
    assert.equal(err.status, 403)
    assert.match(err.message, /The relay token does not permit this request\./)
    return true
  })
})

test('no secret is where it must not be', () => relay.stopClean())
