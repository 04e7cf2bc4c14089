import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import OpenAI, { AuthenticationError, PermissionDeniedError, toFile } from 'openai'
import { json, stream } from './provider.mjs'
import { inSeconds, startRelay } from './relay.mjs'

const messages = [{ role: 'user', content: 'Hello' }]
const models = ['gpt-x', 'gpt-x-mini', 'image-x']
const words = ['One', ', two', ', three']
const reader = new EventEmitter() // «read»: the client has what was sent
let left // the end of the stream that does not end by itself

const relay = await startRelay('openai', {
  async answer(call, res) {
    switch (`${call.method} ${call.path}`) {
      case 'GET /v1/models': return json(res, { object: 'list', data: models.map((id) => ({ id, object: 'model', created: 1, owned_by: 'x' })) })
      case 'POST /v1/chat/completions': return chat(JSON.parse(call.body), res)
      case 'POST /v1/responses': return respond(JSON.parse(call.body), res)
      case 'POST /v1/audio/transcriptions': return json(res, { text: await describe(call, 'file') })
      case 'POST /v1/images/edits': return json(res, { created: 1, data: [{ b64_json: btoa(await describe(call, 'image')) }] })
    }
    throw new Error('not played')
  },
}, { directive: 'on_disconnect cancel' })

async function chat({ model, stream: streaming, messages }, res) {
  if (!streaming) {
    const message = { role: 'assistant', content: `${model} heard ${messages[0].content}` }
    return json(res, { id: 'c', object: 'chat.completion', created: 1, model, choices: [{ index: 0, finish_reason: 'stop', message }] })
  }
  const send = stream(res)
  const say = (content) => send({ id: 'c', object: 'chat.completion.chunk', created: 1, model, choices: [{ index: 0, delta: { content } }] })
  if (model === 'endless') {
    left = once(res, 'close')
    return say('One')
  }
  for (const word of words) {
    say(word)
    await once(reader, 'read')
  }
  send('[DONE]')
  res.end()
}

function respond({ stream: streaming, input }, res) {
  const text = `heard ${input}`
  const response = { id: 'r', object: 'response', status: 'completed', output: [{ type: 'message', id: 'm', role: 'assistant', content: [{ type: 'output_text', text, annotations: [] }] }] }
  if (!streaming) return json(res, response)
  const send = stream(res, true)
  send({ type: 'response.output_text.delta', item_id: 'm', output_index: 0, content_index: 0, delta: text })
  send({ type: 'response.completed', response })
  res.end()
}

// describe tells what came of a multipart form.
async function describe(call, field) {
  const form = await new Response(call.body, { headers: { 'content-type': call.headers['content-type'] } }).formData()
  const file = form.get(field)
  const bytes = Buffer.from(await file.arrayBuffer())
  return `${form.get('model')}: ${file.name}, ${file.type}, ${bytes.length} bytes, ${bytes.equals(pattern(bytes.length)) ? 'intact' : 'damaged'}`
}

const pattern = (length) => Buffer.from({ length }, (_, i) => i * 7 % 251)

// client is the SDK with a new token, and a count of the requests that it sends.
async function client(claims) {
  const minted = await relay.mint(claims)
  const sent = { count: 0 }
  const counting = (...args) => { sent.count++; return fetch(...args) }
  return { openai: new OpenAI({ baseURL: `${relay.url}/v1`, apiKey: minted.token, fetch: counting }), minted, sent }
}

test('a chat completion', async () => {
  const { openai } = await client()
  const { choices: [{ message }] } = await openai.chat.completions.create({ model: 'gpt-x', messages })
  assert.equal(message.content, 'gpt-x heard Hello')
})

test('a stream: each piece comes before the next one is sent', { timeout: 10_000 }, async () => {
  const { openai } = await client()
  const heard = []
  for await (const chunk of await openai.chat.completions.create({ model: 'gpt-x', messages, stream: true })) {
    heard.push(chunk.choices[0].delta.content)
    reader.emit('read')
  }
  assert.deepEqual(heard, words)
})

test('the Responses API, plain and as a stream', async () => {
  const { openai } = await client()
  const { output_text } = await openai.responses.create({ model: 'gpt-x', input: 'one' })
  assert.equal(output_text, 'heard one')
  const heard = []
  for await (const event of await openai.responses.create({ model: 'gpt-x', input: 'two', stream: true })) {
    heard.push(event.type, event.delta ?? event.response.status)
  }
  assert.deepEqual(heard, ['response.output_text.delta', 'heard two', 'response.completed', 'completed'])
})

test('uploads: a recording and an image', async () => {
  const { openai } = await client()
  const file = await toFile(pattern(300_000), 'speech.mp3', { type: 'audio/mpeg' })
  const { text } = await openai.audio.transcriptions.create({ model: 'whisper-x', file })
  assert.equal(text, 'whisper-x: speech.mp3, audio/mpeg, 300000 bytes, intact')
  const image = await toFile(pattern(70_000), 'cat.png', { type: 'image/png' })
  const { data: [{ b64_json }] } = await openai.images.edit({ model: 'image-x', image, prompt: 'a hat' })
  assert.equal(atob(b64_json), 'image-x: cat.png, image/png, 70000 bytes, intact')
})

test('the list of models has those that the token permits', async () => {
  const list = async (claims) => {
    const { openai } = await client(claims)
    const ids = []
    for await (const { id } of openai.models.list()) ids.push(id)
    return ids
  }
  assert.deepEqual(await list({}), models)
  assert.deepEqual(await list({ allow: { models: ['gpt-*'] } }), ['gpt-x', 'gpt-x-mini'])
  assert.deepEqual(await list({ set: { model: 'image-x' } }), ['image-x'])
})

test('who leaves in mid-stream leaves the provider too', { timeout: 10_000 }, async () => {
  const { openai } = await client()
  const controller = new AbortController()
  const running = await openai.chat.completions.create({ model: 'endless', messages, stream: true }, { signal: controller.signal })
  const heard = []
  for await (const chunk of running) {
    heard.push(chunk.choices[0].delta.content)
    controller.abort()
  }
  assert.deepEqual(heard, ['One'])
  await left
})

test('a token that is revoked in mid-stream: the SDK throws what the relay says', { timeout: 10_000 }, async () => {
  const { openai, minted } = await client()
  const heard = []
  await assert.rejects(async () => {
    for await (const chunk of await openai.chat.completions.create({ model: 'endless', messages, stream: true })) {
      heard.push(chunk.choices[0].delta.content)
      await relay.revoke(minted)
    }
  }, { code: 'token_revoked', message: /The relay token was revoked\./ })
  assert.deepEqual(heard, ['One'])
  await left
})

test('an exhausted token is refused in words, once', async () => {
  const { openai, sent } = await client({ limits: { calls: 1 } })
  await openai.chat.completions.create({ model: 'gpt-x', messages })
  const before = relay.calls.length
  await assert.rejects(openai.chat.completions.create({ model: 'gpt-x', messages }), (err) => {
    assert.ok(err instanceof PermissionDeniedError)
    assert.equal(err.code, 'calls_exhausted')
    assert.match(err.message, /^403 The calls of the relay token are used up\./)
    return true
  })
  assert.equal(sent.count, 2, 'the SDK sent the refused call again')
  assert.equal(relay.calls.length, before, 'the refused call reached the provider')
})

test('an expired token is refused in words, once', async () => {
  const { openai, minted, sent } = await client({ exp: inSeconds(2) })
  await relay.expired(minted)
  const before = relay.calls.length
  await assert.rejects(openai.chat.completions.create({ model: 'gpt-x', messages }), (err) => {
    assert.ok(err instanceof AuthenticationError)
    assert.equal(err.code, 'token_expired')
    assert.match(err.message, /^401 The relay token has expired\./)
    return true
  })
  assert.equal(sent.count, 1, 'the SDK sent the refused call again')
  assert.equal(relay.calls.length, before, 'the refused call reached the provider')
})

test('a revoked token is refused in words', async () => {
  const { openai, minted } = await client()
  await relay.revoke(minted)
  await assert.rejects(openai.chat.completions.create({ model: 'gpt-x', messages }), { status: 401, code: 'token_revoked' })
})

test('twenty reloads under load: no call fails, and the limit is reached exactly', { timeout: 120_000 }, async () => {
  const before = relay.calls.length
  let reloading = true
  // use calls with 8 clients for as long as it is to, and returns how many calls were served. What a
  // server drops that is closing the SDK sends again, as it does for whatever breaks a connection.
  async function use(claims, going, end) {
    const { openai } = await client(claims)
    let served = 0
    await Promise.all(Array.from({ length: 8 }, () => end((async () => {
      for (; going(); served++) {
        await openai.chat.completions.create({ model: 'gpt-x', messages })
        await setTimeout(50)
      }
    })())))
    return served
  }
  const all = [
    use({ limits: { calls: 2000 } }, () => true, (calls) => assert.rejects(calls, { code: 'calls_exhausted' })),
    use({}, () => reloading, (calls) => calls),
  ]
  for (let i = 0; i < 20; i++) {
    await relay.reload()
    await setTimeout(1000)
  }
  reloading = false
  const [limited, unlimited] = await Promise.all(all)
  assert.equal(limited, 2000)
  assert.equal(relay.calls.length - before, limited + unlimited)
})

test('no secret is where it must not be', () => relay.stopClean())
