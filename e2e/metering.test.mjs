// Budgets, as the official clients meet them: streams pass byte for byte, the usage is counted to
// the token, and what a budget does not pay for is an exception.
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { describe, test } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import Anthropic, { APIError as AnthropicError, PermissionDeniedError as AnthropicDenied } from '@anthropic-ai/sdk'
import { ApiError as GoogleError, GoogleGenAI } from '@google/genai'
import OpenAI, { APIError as OpenAIError, PermissionDeniedError as OpenAIDenied } from 'openai'
import { startBare, startRelay } from './relay.mjs'

const text = 'One, zwei, três – 四'
const words = ['One', ', zwei', ', três', ' – 四']
const patience = { timeout: 30_000 }
const reader = new EventEmitter() // «left»: the client has left in mid-stream
let left // the end of the stream that does not end by itself

// send sends text in pieces that end anywhere, also within a character.
async function send(res, text) {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += 61) {
    res.write(bytes.subarray(at, at + 61))
    await setImmediate()
  }
}

// play sends the events of a stream. Of the model «endless» it sends the first half, and of the
// model «halting» a piece of the next event too. Of the model «patient» it sends the rest when the
// client has left.
async function play(res, model, events) {
  res.writeHead(200, { 'content-type': 'text/event-stream' })
  const half = Math.floor(events.length / 2)
  switch (model) {
    case 'endless':
      left = once(res, 'close')
      return res.write(events.slice(0, half).join(''))
    case 'halting':
      left = once(res, 'close')
      return res.write(events.slice(0, half).join('') + events[half].slice(0, 20))
  }
  if (model === 'patient') {
    res.write(events.slice(0, half).join(''))
    await once(reader, 'left')
    events = events.slice(half)
  }
  await send(res, events.join(''))
  res.end()
}

const event = (data, name) => `${name ? `event: ${name}\n` : ''}data: ${JSON.stringify(data)}\n\n`

// A client of the tests below: make makes the SDK, answer is the provider's side, and hear streams
// question and calls hears for each piece. It returns the text and what usage the SDK tells. used,
// cost and tokens are what the relay must count, with prices in dollars for a million tokens. denied
// and ended return the relay's code in the exception of the SDK.

// https://developers.openai.com/api/reference/resources/chat/subresources/completions/streaming-events
const chat = {
  preset: 'openai',
  prices: 'input 2 cache_read 0.5 output 8',
  make: (url, token, fetch) => new OpenAI({ baseURL: `${url}/v1`, apiKey: token, fetch }),

  // Without include_usage the chunks have no member usage.
  answer({ body }, res) {
    const { model, stream_options } = JSON.parse(body)
    const asked = stream_options?.include_usage === true
    const chunk = (choices, more = asked ? { usage: null } : {}) => event({
      id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1735689600, model,
      service_tier: 'default', system_fingerprint: 'fp_1', choices, ...more, obfuscation: 'x7Qe',
    })
    const choice = (delta, finish_reason = null) => [{ index: 0, delta, logprobs: null, finish_reason }]
    const usage = {
      prompt_tokens: 21, completion_tokens: 13, total_tokens: 34, prompt_tokens_details: { cached_tokens: 16, audio_tokens: 0 },
      completion_tokens_details: { reasoning_tokens: 4, audio_tokens: 0, accepted_prediction_tokens: 0, rejected_prediction_tokens: 0 },
    }
    return play(res, model, [
      chunk(choice({ role: 'assistant', content: '', refusal: null })),
      ': the next words are being thought of\n\n',
      ...words.map((content) => chunk(choice({ content }))),
      chunk(choice({}, 'stop')),
      ...asked ? [chunk([], { usage })] : [],
      'data: [DONE]\n\n',
    ])
  },
  async hear(openai, question, hears) {
    let heard = ''
    let usage
    for await (const chunk of await openai.chat.completions.create({ ...question, stream: true })) {
      heard += chunk.choices[0]?.delta.content ?? ''
      usage = chunk.usage ?? usage
      await hears?.()
    }
    return { heard, told: usage && [usage.prompt_tokens, usage.completion_tokens] }
  },
  question: { model: 'm', max_tokens: 100, messages: [{ role: 'user', content: 'Count to four, please.' }] },
  told: undefined,
  used: { input: 5, cache_read: 16, output: 13, reasoning: 4 },
  cost: '0.000122', // 5 × 2 + 16 × 0.5 + 13 × 8 in millionths
  tokens: 34,
  denied: (err) => err instanceof OpenAIDenied && err.status === 403 && err.code,
  ended: (err) => err instanceof OpenAIError && /the operator lowered the limit/.test(err.message) && err.code,
}

const asking = {
  ...chat,
  question: { ...chat.question, stream_options: { include_usage: true } },
  told: [21, 13],
}

// https://developers.openai.com/api/reference/resources/responses/streaming-events
const responses = {
  ...chat,
  answer({ body }, res) {
    const { model } = JSON.parse(body)
    let sequence_number = 0
    const say = (type, more) => event({ type, sequence_number: sequence_number++, ...more }, type)
    const response = { id: 'resp_1', object: 'response', created_at: 1735689600, status: 'in_progress', model, output: [], usage: null }
    const content = [{ type: 'output_text', annotations: [], text }]
    const usage = {
      input_tokens: 21, input_tokens_details: { cached_tokens: 16 },
      output_tokens: 13, output_tokens_details: { reasoning_tokens: 4 }, total_tokens: 34,
    }
    return play(res, model, [
      say('response.created', { response }),
      say('response.in_progress', { response }),
      ...words.map((delta) => say('response.output_text.delta', { item_id: 'msg_1', output_index: 0, content_index: 0, delta })),
      say('response.output_text.done', { item_id: 'msg_1', output_index: 0, content_index: 0, text }),
      say('response.completed', {
        response: { ...response, status: 'completed', output: [{ id: 'msg_1', type: 'message', status: 'completed', role: 'assistant', content }], usage },
      }),
    ])
  },
  async hear(openai, question, hears) {
    let heard = ''
    let usage
    for await (const event of await openai.responses.create({ ...question, stream: true })) {
      if (event.type === 'response.output_text.delta') heard += event.delta
      usage = event.response?.usage ?? usage
      await hears?.()
    }
    return { heard, told: usage && [usage.input_tokens, usage.output_tokens] }
  },
  question: { model: 'm', max_output_tokens: 100, input: 'Count to four, please.' },
  told: [21, 13],
}

// https://platform.claude.com/docs/en/build-with-claude/streaming
const messages = {
  preset: 'anthropic',
  prices: 'input 3 cache_read 0.3 cache_write 3.75 cache_write_1h 6 output 15',
  make: (url, token, fetch) => new Anthropic({ baseURL: url, apiKey: token, fetch }),

  answer({ body }, res) {
    const { model } = JSON.parse(body)
    const say = (data) => event(data, data.type)
    const usage = {
      input_tokens: 7, cache_creation_input_tokens: 11, cache_read_input_tokens: 20,
      cache_creation: { ephemeral_5m_input_tokens: 11, ephemeral_1h_input_tokens: 0 }, output_tokens: 1, service_tier: 'standard',
    }
    return play(res, model, [
      say({ type: 'message_start', message: { id: 'msg_1', type: 'message', role: 'assistant', model, content: [], stop_reason: null, stop_sequence: null, usage } }),
      say({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } }),
      'event: ping\ndata: {"type": "ping"}\n\n',
      ...words.map((text) => say({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })),
      say({ type: 'content_block_stop', index: 0 }),
      say({
        type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null },
        usage: { input_tokens: 7, cache_creation_input_tokens: 11, cache_read_input_tokens: 20, output_tokens: 14 },
      }),
      say({ type: 'message_stop' }),
    ])
  },
  async hear(anthropic, question, hears) {
    let heard = ''
    const running = anthropic.messages.stream(question)
    for await (const event of running) {
      heard += event.delta?.text ?? ''
      await hears?.()
    }
    const { usage } = await running.finalMessage()
    return { heard, told: [usage.input_tokens, usage.output_tokens] }
  },
  question: {
    model: 'm', max_tokens: 100, cache_control: { type: 'ephemeral' },
    messages: [{ role: 'user', content: 'Count to four, please.' }],
  },
  told: [7, 14],
  used: { input: 7, cache_read: 20, cache_write: 11, output: 14 },
  cost: '0.00027825', // 7 × 3 + 20 × 0.3 + 11 × 3.75 + 14 × 15 in millionths
  tokens: 52,
  denied: (err) => err instanceof AnthropicDenied && err.status === 403 && err.error.error.code,
  ended: (err) => err instanceof AnthropicError && /the operator lowered the limit/.test(err.message) && err.error.error.code,
}

// https://ai.google.dev/api/generate-content
const gemini = {
  preset: 'gemini',
  prices: 'input 0.3 cache_read 0.03 output 2.5',
  make: (url, token, fetch) => new GoogleGenAI({ apiKey: token, httpOptions: { baseUrl: url, fetch } }),

  // Each chunk tells all that was used so far, and lines end as Google ends them.
  answer({ path }, res) {
    const model = path.match(/models\/(\w+):streamGenerateContent$/)[1]
    return play(res, model, words.map((text, i) => event({
      candidates: [{ content: { parts: [{ text }], role: 'model' }, ...i === words.length - 1 && { finishReason: 'STOP' }, index: 0 }],
      usageMetadata: {
        promptTokenCount: 19, candidatesTokenCount: 2 * (i + 1), totalTokenCount: 19 + 2 * (i + 1) + 6, cachedContentTokenCount: 12,
        promptTokensDetails: [{ modality: 'TEXT', tokenCount: 19 }], cacheTokensDetails: [{ modality: 'TEXT', tokenCount: 12 }], thoughtsTokenCount: 6,
      },
      modelVersion: model,
      responseId: 'r1',
    }).replaceAll('\n', '\r\n')))
  },
  async hear(google, question, hears) {
    let heard = ''
    let usage
    for await (const chunk of await google.models.generateContentStream(question)) {
      heard += chunk.text
      usage = chunk.usageMetadata
      await hears?.()
    }
    return { heard, told: [usage.promptTokenCount, usage.candidatesTokenCount + usage.thoughtsTokenCount] }
  },
  question: { model: 'm', contents: 'Count to four, please.', config: { maxOutputTokens: 100 } },
  told: [19, 14],
  used: { input: 7, cache_read: 12, output: 14, reasoning: 6 },
  cost: '0.00003746', // 7 × 0.3 + 12 × 0.03 + 14 × 2.5 in millionths
  tokens: 33,
  denied: (err) => err instanceof GoogleError && err.status === 403 && JSON.parse(err.message).error.details[0].reason,
  ended: (err) => err instanceof GoogleError && /The budget of the relay token is used up\./.test(err.message) && 'budget_exhausted',
}

// start starts a relay with prices and bare Caddy, in front of one provider that does as the client
// under test expects.
async function start({ preset, prices }, lines = '') {
  const play = { answer: (call, res) => answers[preset](call, res) }
  const relay = await startRelay(preset, play, { global: `price ${preset} * ${prices}\n${lines}` })
  return { relay, bare: await startBare(relay) }
}

// answers are by preset what the provider does.
const answers = {
  openai: (call, res) => (call.path.endsWith('/responses') ? responses : chat).answer(call, res),
  anthropic: messages.answer,
  gemini: gemini.answer,
}
const stages = { openai: await start(chat), anthropic: await start(messages), gemini: await start(gemini) }
const always = await start(chat, 'meter always')

// watched is fetch, and what came in the bodies of the answers.
function watched() {
  const bodies = []
  async function watching(...args) {
    const res = await fetch(...args)
    if (!res.body) return res
    const pieces = []
    bodies.push(pieces)
    const noting = new TransformStream({ transform(piece, out) { pieces.push(piece); out.enqueue(piece) } })
    return new Response(res.body.pipeThrough(noting), res)
  }
  return { fetch: watching, bodies: () => bodies.map((pieces) => Buffer.concat(pieces).toString('latin1')) }
}

// listen has an SDK stream, and returns what it heard and the bytes that came.
async function listen(client, { url, token }) {
  const seen = watched()
  const said = await client.hear(client.make(url, token, seen.fetch), client.question)
  const [bytes, ...more] = seen.bodies()
  assert.deepEqual(more, [], 'the SDK called more than once')
  return { ...said, bytes }
}

const clients = {
  'openai, chat': chat,
  'openai, chat with include_usage': asking,
  'openai, responses': responses,
  '@anthropic-ai/sdk': messages,
  '@google/genai': gemini,
}

for (const [name, client] of Object.entries(clients)) {
  describe(name, () => {
    const { relay, bare } = stages[client.preset]

    for (const [budget, claims] of Object.entries({
      'dollars': { limits: { usd: '1' } },
      'tokens': { limits: { tokens: 10_000 } },
      'dollars, tokens and calls': { limits: { usd: '1', tokens: 10_000, calls: 5 } },
    })) {
      test(`a stream under a budget in ${budget} has the bytes of bare Caddy, and is counted to the token`, patience, async () => {
        const direct = await listen(client, bare)
        const minted = await relay.mint(claims)
        const relayed = await listen(client, { url: relay.url, token: minted.token })

        assert.equal(relayed.bytes, direct.bytes)
        assert.deepEqual([relayed.heard, relayed.told], [text, client.told])
        assert.deepEqual([direct.heard, direct.told], [text, client.told])
        const used = await relay.used(minted)
        const { input, cache_read, cache_write, cache_write_hour, output, reasoning, requests, unmetered } = used
        assert.deepEqual({ input, cache_read, cache_write, cache_write_hour, output, reasoning, requests, unmetered },
          { cache_write: undefined, cache_write_hour: undefined, reasoning: undefined, requests: 1, unmetered: undefined, ...client.used })
        assert.equal(used.cost_usd, client.cost)
        assert.equal(used.usd_counted ?? '0', claims.limits.usd ? client.cost : '0')
        assert.equal(used.tokens_counted ?? 0, claims.limits.tokens ? client.tokens : 0)
      })
    }

    test('a stream without a budget has the bytes of bare Caddy, in both directions', patience, async () => {
      const direct = await listen(client, bare)
      const minted = await relay.mint({})
      const relayed = await listen(client, { url: relay.url, token: minted.token })

      assert.equal(relayed.bytes, direct.bytes)
      assert.deepEqual([relayed.heard, relayed.told], [direct.heard, direct.told])
      const [before, after] = relay.calls.slice(-2)
      assert.equal(after.body.toString(), before.body.toString())
      const { input, output, unmetered } = await relay.used(minted)
      const { input: wantInput, output: wantOutput } = client.used
      assert.deepEqual({ input, output, unmetered }, client.told
        ? { input: wantInput, output: wantOutput, unmetered: undefined } // nobody asked for it otherwise
        : { input: undefined, output: undefined, unmetered: 1 })
    })

    if (client.preset === 'openai') {
      test('a stream whose usage the relay always asks for has the bytes of bare Caddy', patience, async () => {
        const direct = await listen(client, always.bare)
        const minted = await always.relay.mint({})
        const relayed = await listen(client, { url: always.relay.url, token: minted.token })
        assert.equal(relayed.bytes, direct.bytes)
        const { input, cache_read, output, cost_usd } = await always.relay.used(minted)
        assert.deepEqual({ input, cache_read, output, cost_usd },
          { input: client.used.input, cache_read: client.used.cache_read, output: client.used.output, cost_usd: client.cost })
      })
    }

    test('a used-up budget is an exception, and is sent once', patience, async () => {
      const minted = await relay.mint({ limits: { usd: '0.004' } })
      const seen = watched()
      const sdk = client.make(relay.url, minted.token, seen.fetch)
      let served = 0
      let before = relay.calls.length
      await assert.rejects(async () => {
        for (;; served++, before = relay.calls.length) assert.equal((await client.hear(sdk, client.question)).heard, text)
      }, (err) => {
        assert.equal(client.denied(err), 'budget_exhausted', `${err}`)
        return true
      })

      assert.ok(served > 0, 'no call was served')
      assert.equal(seen.bodies().length, served + 1, 'the SDK sent the refused call again')
      assert.equal(relay.calls.length, before, 'the refused call reached the provider')
      const { calls, usd_counted, cost_usd } = await relay.used(minted, served)
      assert.deepEqual({ calls, usd_counted, cost_usd }, { calls: served, usd_counted: cost_usd, cost_usd: times(client.cost, served) })
    })

    test('a stream that its reader leaves is counted as if it had been read to its end', patience, async () => {
      const minted = await relay.mint({ limits: { usd: '1' } })
      const leaving = new AbortController()
      const leave = (url, init) => fetch(url, { ...init, signal: AbortSignal.any([leaving.signal, ...init.signal ? [init.signal] : []]) })
      const running = client.hear(client.make(relay.url, minted.token, leave), { ...client.question, model: 'patient' }, () => leaving.abort())
      await running.catch(() => {}) // some SDKs throw, and some end
      await setTimeout(100) // the relay has heard of it by then, or reads on
      reader.emit('left')
      const { cost_usd, usd_counted, unmetered } = await relay.used(minted)
      assert.deepEqual({ cost_usd, usd_counted, unmetered }, { cost_usd: client.cost, usd_counted: client.cost, unmetered: undefined })
    })

    for (const [how, lower] of Object.entries({
      'the token': (minted) => relay.change(minted, { usd_limit: '0' }),
      'the user': (_, subject) => relay.limit({ scope: 'subject', issuer: 'relay', subject, usd: '0.000001' }),
    })) {
      test(`a stream ends within 250 ms, with an exception, when the operator lowers the budget of ${how}`, patience, async () => {
        const subject = `${name}, ${how}`
        await relay.limit({ scope: 'subject', issuer: 'relay', subject, usd: '1' })
        const minted = await relay.mint({ sub: subject, limits: { usd: '1' } })
        let lowered
        let begun
        const hears = async () => {
          begun ??= performance.now()
          lowered ??= await lower(minted, subject)
        }
        const running = client.hear(client.make(relay.url, minted.token), { ...client.question, model: 'endless' }, hears)
        await assert.rejects(running, (err) => {
          assert.equal(client.ended(err), 'budget_exhausted', `${err}`)
          return true
        })
        const took = performance.now() - begun
        assert.equal(lowered.ended_calls, 1)
        assert.ok(took < 250, `it took ${took} ms`)
        await left
      })
    }

    test('a stream that the operator ends in the middle of an event is an exception too', patience, async () => {
      const minted = await relay.mint({ limits: { usd: '1' } })
      let lowered
      const hears = async () => { lowered ??= await relay.change(minted, { usd_limit: '0' }) }
      await assert.rejects(client.hear(client.make(relay.url, minted.token), { ...client.question, model: 'halting' }, hears))
      assert.equal(lowered.ended_calls, 1)
      await left
    })
  })
}

test('no secret is where it must not be', async () => {
  for (const { relay } of [...Object.values(stages), always]) await relay.stopClean()
})

// times multiplies a decimal number.
function times(decimal, n) {
  const [whole, fraction] = decimal.split('.')
  const product = String(BigInt(whole + fraction) * BigInt(n)).padStart(fraction.length + 1, '0')
  return `${product.slice(0, -fraction.length)}.${product.slice(-fraction.length)}`.replace(/\.?0+$/, '')
}
