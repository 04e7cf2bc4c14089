import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { test } from 'node:test'
import { GoogleGenAI, Modality } from '@google/genai'
import { json, stream } from './provider.mjs'
import { inSeconds, startRelay } from './relay.mjs'

const question = { model: 'gemini-x', contents: 'Hello' }
const models = ['gemini-x', 'gemini-x-pro', 'veo-x']
const words = ['One', ', two', ', three']
const reader = new EventEmitter() // «read»: the client has what was sent
let left // the end of the stream that does not end by itself

const saying = (text) => ({ candidates: [{ content: { role: 'model', parts: [{ text }] } }] })

const relay = await startRelay('gemini', {
  async answer(call, res) {
    if (call.path === '/v1beta/models') return json(res, { models: models.map((name) => ({ name: `models/${name}`, displayName: name })) })
    if (call.path.startsWith('/upload/')) return upload(call, res)
    const [, model, method] = call.path.match(/^\/v1beta\/models\/([^/:]+):(\w+)$/)
    if (method === 'generateContent') return json(res, saying(`heard ${hear(JSON.parse(call.body).contents[0].parts[0])}`))
    assert.equal(method, 'streamGenerateContent')
    assert.equal(call.query.get('alt'), 'sse')
    const send = stream(res)
    if (model === 'endless') {
      left = once(res, 'close')
      return send(saying('One'))
    }
    for (const word of words) {
      send(saying(word))
      await once(reader, 'read')
    }
    res.end()
  },

  converse(socket, call) {
    assert.equal(call.path, '/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent')
    socket.on('message', (data) => {
      const message = JSON.parse(data)
      if (message.setup) socket.send(JSON.stringify({ setupComplete: {} }))
      const text = message.clientContent?.turns[0].parts[0].text
      if (text) socket.send(JSON.stringify({ serverContent: { modelTurn: { parts: [{ text: `heard ${text}` }] }, turnComplete: true } }))
    })
  },
}, {
  provider: 'paths "POST /upload/v1beta/files" "POST /v1beta/models/*" "GET /v1beta/models" "GET /ws/*"',
  directive: 'on_disconnect cancel',
})

// upload begins a resumable upload at an address of its own, and finishes it there.
function upload(call, res) {
  assert.equal(call.path, '/upload/v1beta/files')
  if (call.headers['x-goog-upload-command'] === 'start') {
    res.setHeader('x-goog-upload-url', `http://${call.headers.host}/upload/v1beta/files?upload_id=u1&upload_protocol=resumable`)
    return json(res, {})
  }
  assert.equal(call.query.get('upload_id'), 'u1')
  assert.equal(call.headers['x-goog-upload-command'], 'upload, finalize')
  res.setHeader('x-goog-upload-status', 'final')
  json(res, { file: { name: 'files/f', sizeBytes: String(call.body.length) } })
}

const hear = ({ text, inlineData }) => text ?? (inlineData.data === recording ? 'a recording' : 'noise')
const recording = Buffer.from({ length: 3_000_000 }, (_, i) => i * 7 % 251).toString('base64')

const client = (token) => new GoogleGenAI({ apiKey: token, httpOptions: { baseUrl: relay.url } })

test('generateContent', async () => {
  const { token } = await relay.mint()
  assert.equal((await client(token).models.generateContent(question)).text, 'heard Hello')
})

test('an upload: a recording of 3 MB in a message', async () => {
  const { token } = await relay.mint()
  const contents = [{ inlineData: { mimeType: 'audio/wav', data: recording } }]
  assert.equal((await client(token).models.generateContent({ ...question, contents })).text, 'heard a recording')
})

test('an upload of a file: its address leads back to the relay', async () => {
  const { token } = await relay.mint()
  const file = await client(token).files.upload({ file: new Blob(['a'.repeat(100_000)]), config: { mimeType: 'text/plain' } })
  assert.deepEqual([file.name, file.sizeBytes], ['files/f', '100000'])
})

test('the list of models has those that the token permits', async () => {
  const list = async (claims) => {
    const { token } = await relay.mint(claims)
    const names = []
    for await (const { name } of await client(token).models.list()) names.push(name)
    return names
  }
  assert.deepEqual(await list({}), models.map((name) => `models/${name}`))
  assert.deepEqual(await list({ allow: { models: ['gemini-*'] } }), ['models/gemini-x', 'models/gemini-x-pro'])
  assert.deepEqual(await list({ set: { model: 'veo-x' } }), ['models/veo-x'])
})

test('a stream: each piece comes before the next one is sent', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const heard = []
  for await (const chunk of await client(token).models.generateContentStream(question)) {
    heard.push(chunk.text)
    reader.emit('read')
  }
  assert.deepEqual(heard, words)
})

test('who leaves in mid-stream leaves the provider too', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  const controller = new AbortController()
  const running = await client(token).models.generateContentStream({ ...question, model: 'endless', config: { abortSignal: controller.signal } })
  const heard = []
  await assert.rejects(async () => {
    for await (const chunk of running) {
      heard.push(chunk.text)
      controller.abort()
    }
  }, { name: 'AbortError' })
  assert.deepEqual(heard, ['One'])
  await left
})

test('a token that is revoked in mid-stream: the SDK throws what the relay says', { timeout: 10_000 }, async () => {
  const minted = await relay.mint()
  const heard = []
  await assert.rejects(async () => {
    for await (const chunk of await client(minted.token).models.generateContentStream({ ...question, model: 'endless' })) {
      heard.push(chunk.text)
      await relay.revoke(minted)
    }
  }, /The relay token was revoked\./)
  assert.deepEqual(heard, ['One'])
  await left
})

test('a Live session', { timeout: 10_000 }, async () => {
  const { token } = await relay.mint()
  let onText
  const text = new Promise((resolve) => { onText = resolve })
  const session = await client(token).live.connect({
    model: 'gemini-x',
    config: { responseModalities: [Modality.TEXT] },
    callbacks: { onmessage: ({ serverContent }) => serverContent && onText(serverContent.modelTurn.parts[0].text) },
  })
  session.sendClientContent({ turns: [{ role: 'user', parts: [{ text: 'Hello' }] }] })
  assert.equal(await text, 'heard Hello')
  session.close()
})

test('an expired token is refused in words, and before the provider hears of it', async () => {
  const minted = await relay.mint({ exp: inSeconds(2) })
  await relay.expired(minted)
  const before = relay.calls.length
  await assert.rejects(client(minted.token).models.generateContent(question), (err) => {
    assert.equal(err.status, 401)
    assert.match(err.message, /The relay token has expired\./)
    return true
  })
  assert.equal(relay.calls.length, before)
})

test('no secret is where it must not be', () => relay.stopClean())
