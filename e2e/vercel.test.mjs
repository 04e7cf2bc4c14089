import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { test } from 'node:test'
import { createOpenAI } from '@ai-sdk/openai'
import { APICallError, experimental_transcribe as transcribe, generateText, streamText } from 'ai'
import { json, stream } from './provider.mjs'
import { startRelay } from './relay.mjs'

const words = ['One', ', two', ', three']
const reader = new EventEmitter() // «read»: the client has what was sent
let left // the end of the stream that does not end by itself

const relay = await startRelay('openai', {
  async answer(call, res) {
    switch (call.path) {
      case '/v1/responses': return respond(JSON.parse(call.body), res)
      case '/v1/chat/completions': return chat(JSON.parse(call.body), res)
      case '/v1/audio/transcriptions': return json(res, { text: await describe(call) })
    }
    throw new Error('not played')
  },
}, { directive: 'on_disconnect cancel' })

async function respond({ model, input, stream: streaming }, res) {
  const response = { id: 'r', created_at: 1, model, usage: { input_tokens: 1, output_tokens: 3 } }
  const item = { type: 'message', id: 'm', role: 'assistant' }
  if (!streaming) {
    const text = `heard ${input[0].content[0].text}`
    return json(res, { ...response, output: [{ ...item, content: [{ type: 'output_text', text, annotations: [] }] }] })
  }
  const send = stream(res, true)
  const say = (delta) => send({ type: 'response.output_text.delta', item_id: 'm', delta })
  send({ type: 'response.created', response })
  send({ type: 'response.output_item.added', output_index: 0, item })
  if (model === 'endless') {
    left = once(res, 'close')
    return say('One')
  }
  for (const word of words) {
    say(word)
    await once(reader, 'read')
  }
  send({ type: 'response.output_item.done', output_index: 0, item })
  send({ type: 'response.completed', response })
  res.end()
}

function chat({ messages }, res) {
  const message = { role: 'assistant', content: `heard ${messages[0].content}` }
  json(res, { id: 'c', created: 1, model: 'gpt-x', choices: [{ index: 0, finish_reason: 'stop', message }], usage: { prompt_tokens: 1, completion_tokens: 3 } })
}

async function describe({ body, headers }) {
  const form = await new Response(body, { headers: { 'content-type': headers['content-type'] } }).formData()
  const bytes = Buffer.from(await form.get('file').arrayBuffer())
  return `${form.get('model')}: ${bytes.length} bytes, ${bytes.equals(recording) ? 'intact' : 'damaged'}`
}

const recording = Buffer.from({ length: 300_000 }, (_, i) => i * 7 % 251)

const client = (token) => createOpenAI({ baseURL: `${relay.url}/v1`, apiKey: token })

test('generateText, by the Responses API and by chat completions', async () => {
  const { token } = await relay.mint()
  const openai = client(token)
  for (const model of [openai('gpt-x'), openai.chat('gpt-x')]) {
    assert.equal((await generateText({ model, prompt: 'Hello' })).text, 'heard Hello')
  }
})

test('streamText: each piece comes before the next one is sent', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const heard = []
  for await (const text of streamText({ model: client(token)('gpt-x'), prompt: 'Hello' }).textStream) {
    heard.push(text)
    reader.emit('read')
  }
  assert.deepEqual(heard, words)
})

test('who leaves in mid-stream leaves the provider too', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const controller = new AbortController()
  const heard = []
  for await (const text of streamText({ model: client(token)('endless'), prompt: 'Hello', abortSignal: controller.signal }).textStream) {
    heard.push(text)
    controller.abort()
  }
  assert.deepEqual(heard, ['One'])
  await left
})

test('a token that is revoked in mid-stream: the SDK reports what the relay says', { timeout: 10_000 }, async () => {
  const minted = await relay.mint()
  const heard = []
  const errors = []
  const running = streamText({ model: client(minted.token)('endless'), prompt: 'Hello', onError: ({ error }) => errors.push(error) })
  for await (const text of running.textStream) {
    heard.push(text)
    await relay.revoke(minted)
  }
  assert.deepEqual(heard, ['One'])
  assert.match(JSON.stringify(errors), /The relay token was revoked\./)
  await left
})

test('an upload: a recording to transcribe', async () => {
  const { token } = await relay.mint()
  const { text } = await transcribe({ model: client(token).transcription('whisper-1'), audio: recording })
  assert.equal(text, 'whisper-1: 300000 bytes, intact')
})

test('an exhausted token is refused in words, once', async () => {
  const { token } = await relay.mint({ limits: { calls: 1 } })
  const model = client(token)('gpt-x')
  await generateText({ model, prompt: 'Hello' })
  const before = relay.calls.length
  await assert.rejects(generateText({ model, prompt: 'Hello' }), (err) => {
    assert.ok(APICallError.isInstance(err), 'not the error itself: the SDK has tried again')
    assert.equal(err.statusCode, 403)
    assert.match(err.message, /^The calls of the relay token are used up\./)
    return true
  })
  assert.equal(relay.calls.length, before)
})

test('no secret is where it must not be', () => relay.stopClean())
